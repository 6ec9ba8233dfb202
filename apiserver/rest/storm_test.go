package rest_test

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/apiserver/rest"
)

// openWatches opens watches whose clients never read, on raw connections with
// buffers as small as they get.
func (w *world) openWatches(n int) []net.Conn {
	w.t.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", w.server.Listener.Addr().String())
		check(w.t, err)
		w.t.Cleanup(func() { c.Close() })
		check(w.t, c.(*net.TCPConn).SetReadBuffer(4<<10))
		_, err = fmt.Fprintf(c, "GET %s?watch=1 HTTP/1.1\r\nHost: x\r\nTest-User: alice\r\n\r\n", maps)
		check(w.t, err)
		conns[i] = c
	}
	return conns
}

// liveHeap is what is left after a collection.
func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// openStreams opens as many watches over HTTP/2 connections whose clients never
// read and have no room for anything but headers.
func (s *served) openStreams(connections, streams int) []*h2 {
	s.t.Helper()
	all := make([]*h2, connections)
	for i := range all {
		all[i] = s.dialH2(s.t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 10})
		for range streams {
			_, err := all[i].ask("GET", maps+"?watch=1", "mallory", true, true)
			check(s.t, err)
		}
	}
	return all
}

// TestWatchStorm has many watches that nobody reads from, over both versions of
// HTTP: they cost little and no more the more happens, are cut off, and nobody
// else waits for them.
func TestWatchStorm(t *testing.T) {
	const (
		plain, connections, streams = 1000, 16, 250
		watches                     = plain + connections*streams
		writes, size                = 60, 40 << 10
	)
	begun := make(chan struct{}, watches)
	w := newWorld(t, func(c *rest.Config) {
		c.StallTime = 2 * time.Second
		c.Watched = func(*rest.RequestInfo) func(int) { begun <- struct{}{}; return nil }
	})
	w.namespace("shop")
	s := w.serve(nil)
	c := w.client("alice").CoreV1().ConfigMaps("shop")
	before := liveHeap()
	w.openWatches(plain)
	s.openStreams(connections, streams)
	for range watches {
		<-begun
	}
	open := liveHeap()
	value := strings.Repeat("x", size)
	reading := w.get(maps + "?watch=1&resourceVersion=1")
	for i := range writes {
		_, err := c.Create(t.Context(), configMap(fmt.Sprintf("m%02d", i), "v", value), metav1.CreateOptions{})
		check(t, err)
	}
	// 12 GB would be on their way if anybody kept them.
	grown := liveHeap() - open
	t.Logf("%d watches hold %d MB, and %d MB when nobody reads them", watches, (open-before)>>20, grown>>20)
	if open-before > 128<<20 || grown > 64<<20 {
		t.Error("that is too much")
	}
	if got := len(frames(t, reading, writes)); got != writes {
		t.Errorf("who reads got %d events", got)
	}
	await(t, "who does not read is cut off", func() bool { return runtime.NumGoroutine() < watches/10 })
}

// await polls a condition that nothing announces.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("it does not come true that %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
