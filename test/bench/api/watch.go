package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/headway-sh/headway/test/bench/rig"
)

// sentMark stands before the time of sending in a status message.
const sentMark = "sent at "

// timeDigits is how long a time in nanoseconds is, in this century.
const timeDigits = 19

// watch measures what a delivered event costs and how long it takes: the same
// paced status updates with watchers and without.
func (b *bench) watch(ctx context.Context) error {
	if _, err := b.createPods(ctx); err != nil {
		return err
	}
	few := min(b.watchers, 100)
	if err := b.fan(ctx, few, 150, "100 watchers × 150/s: p99 26 ms", ""); err != nil {
		return err
	}
	return b.fan(ctx, b.watchers, 50, "", "p99 ≤ 50 ms")
}

// fan sends updates at a rate without and with watchers; the difference is the
// watchers'.
func (b *bench) fan(ctx context.Context, watchers, rate int, reference, aim string) error {
	alone, err := b.paced(ctx, rate)
	if err != nil {
		return err
	}
	w, err := b.openWatches(ctx, watchers)
	if err != nil {
		return err
	}
	defer w.stop()
	done := b.profile(ctx, fmt.Sprintf("watch %d", watchers))
	watched, err := b.paced(ctx, rate)
	if err != nil {
		return err
	}
	n := rate * b.seconds * watchers
	if err := w.await(ctx, n); err != nil {
		return err
	}
	done()
	name := fmt.Sprintf("watch, %d watchers × %d events/s", watchers, rate)
	b.report.Mean(name+", CPU by event", microseconds((watched-alone)/time.Duration(n)), n, "", "≤ 6 µs")
	b.report.Times("  update sent → event received", w.latencies(), reference, aim)
	return nil
}

// paced sends updates at a rate and gives the server's CPU time meanwhile.
func (b *bench) paced(ctx context.Context, rate int) (time.Duration, error) {
	u, err := b.podUpdates(ctx)
	if err != nil {
		return 0, err
	}
	clients := make([]*http.Client, b.clients)
	for i := range clients {
		clients[i] = b.server.client()
		defer clients[i].CloseIdleConnections()
		if _, err := b.server.do(ctx, clients[i], request{path: "/readyz"}); err != nil {
			return 0, err
		}
	}
	before, err := b.server.CPUTime()
	if err != nil {
		return 0, err
	}
	g, running := errgroup.WithContext(ctx)
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for i := range rate * b.seconds {
		select {
		case <-tick.C:
		case <-running.Done():
			return 0, g.Wait()
		}
		g.Go(func() error {
			return u.send(running, clients[i%len(clients)], i, sentMark+strconv.FormatInt(time.Now().UnixNano(), 10))
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	// The last event's delivery is theirs too.
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := b.server.CPUTime()
	return after - before, err
}

// watches are many clients that watch the pods, each on its own connection.
type watches struct {
	cancel   context.CancelFunc
	running  sync.WaitGroup
	received atomic.Int64
	failed   atomic.Pointer[error]

	mu  sync.Mutex // guards all
	all []time.Duration
}

func (b *bench) openWatches(ctx context.Context, n int) (*watches, error) {
	c := b.server.client()
	defer c.CloseIdleConnections()
	answer, err := b.server.do(ctx, c, request{path: pods + "?limit=1", media: mediaProtobuf})
	if err != nil {
		return nil, err
	}
	o, _, err := codec.Decode(answer, nil, nil)
	if err != nil {
		return nil, err
	}
	list, ok := o.(interface{ GetResourceVersion() string })
	if !ok {
		return nil, fmt.Errorf("the list of pods is a %T", o)
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watches{cancel: cancel}
	g, opening := errgroup.WithContext(ctx)
	g.SetLimit(b.clients)
	for range n {
		g.Go(func() error {
			client := b.server.client()
			answer, err := b.server.open(ctx, client, request{path: pods + "?watch=1&resourceVersion=" + list.GetResourceVersion(), media: mediaProtobuf + ";stream=watch"})
			if err != nil {
				return err
			}
			w.running.Go(func() {
				defer client.CloseIdleConnections()
				defer answer.Body.Close()
				if err := w.read(answer.Body); err != nil && ctx.Err() == nil {
					w.failed.CompareAndSwap(nil, &err)
				}
			})
			return opening.Err()
		})
	}
	if err := g.Wait(); err != nil {
		w.stop()
		return nil, err
	}
	return w, nil
}

// read takes the times out of a stream's frames.
func (w *watches) read(stream io.Reader) error {
	var own []time.Duration
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.all = append(w.all, own...)
	}()
	in := bufio.NewReader(stream)
	var frame []byte
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return err
		}
		if n := int(binary.BigEndian.Uint32(size[:])); n > cap(frame) {
			frame = make([]byte, n)
		} else {
			frame = frame[:n]
		}
		if _, err := io.ReadFull(in, frame); err != nil {
			return err
		}
		now := time.Now()
		at := bytes.Index(frame, []byte(sentMark))
		if at < 0 || len(frame) < at+len(sentMark)+timeDigits {
			return errors.New("an event without a time")
		}
		sent, err := strconv.ParseInt(string(frame[at+len(sentMark):][:timeDigits]), 10, 64)
		if err != nil {
			return err
		}
		own = append(own, now.Sub(time.Unix(0, sent)))
		w.received.Add(1)
	}
}

// await waits until n events have been received in all.
func (w *watches) await(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, rig.Patience)
	defer cancel()
	return rig.Poll(ctx, 10*time.Millisecond, func() error {
		if err := w.failed.Load(); err != nil {
			return *err
		}
		if got := w.received.Load(); got < int64(n) {
			return fmt.Errorf("%d of %d events were received", got, n)
		}
		return nil
	})
}

// latencies ends the watches and gives how long each event took.
func (w *watches) latencies() []time.Duration {
	w.stop()
	return w.all
}

func (w *watches) stop() {
	w.cancel()
	w.running.Wait()
}
