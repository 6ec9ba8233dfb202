package rest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// faultyLink is a TCP link that breaks after a few kilobytes, most often in the
// middle of an event, until it is repaired.
type faultyLink struct {
	listener net.Listener
	target   string
	repaired atomic.Bool
	broken   atomic.Int64
	running  sync.WaitGroup
}

func newFaultyLink(t *testing.T, target string) *faultyLink {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	l := &faultyLink{listener: listener, target: target}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	l.running.Go(func() { l.accept(ctx) })
	t.Cleanup(func() {
		cancel()
		listener.Close()
		l.running.Wait()
	})
	return l
}

func (l *faultyLink) accept(ctx context.Context) {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.target)
		if err != nil {
			client.Close()
			continue
		}
		closing := sync.OnceFunc(func() { client.Close(); server.Close() })
		stop := context.AfterFunc(ctx, closing)
		l.running.Go(func() {
			defer closing()
			_, _ = io.Copy(server, client) // ends when either does
		})
		l.running.Go(func() {
			defer stop()
			defer closing()
			if l.repaired.Load() {
				_, _ = io.Copy(client, server)
				return
			}
			_, _ = io.CopyN(client, server, 500+rand.Int64N(12<<10))
			l.broken.Add(1)
		})
	}
}

// legacy is a client whose informers list and then watch.
type legacy struct{}

func (legacy) IsWatchListSemanticsUnSupported() bool { return true }

// witness checks what a handler is told.
type witness struct {
	t    *testing.T
	name string
	mu   sync.Mutex // guards seen
	seen map[string]int64
}

func (w *witness) see(o any) {
	m := o.(*corev1.ConfigMap)
	revision, err := strconv.ParseInt(m.ResourceVersion, 10, 64)
	if err != nil {
		w.t.Errorf("%s: %v", w.name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if revision < w.seen[m.Name] {
		w.t.Errorf("%s: %s went back from %d to %d", w.name, m.Name, w.seen[m.Name], revision)
	}
	w.seen[m.Name] = revision
}

// TestInformersThroughFaults has informers of every sort follow a resource
// while connections break inside events, the store restarts, and history is
// compacted away below them. In the end each must have what there is, and none
// may ever have seen an object go back.
func TestInformersThroughFaults(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	direct := httptest.NewServer(w)
	t.Cleanup(func() { direct.CloseClientConnections(); direct.Close() })
	link := newFaultyLink(t, direct.Listener.Addr().String())
	stores := map[string]cache.Store{}
	for _, media := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		for _, streaming := range []bool{true, false} {
			name := fmt.Sprintf("%s, streaming %v", media, streaming)
			config := clientrest.CopyConfig(w.config("alice"))
			config.Host, config.ContentType = "http://"+link.listener.Addr().String(), media
			client, err := kubernetes.NewForConfig(config)
			check(t, err)
			stores[name] = inform(t, name, client, streaming)
		}
	}
	c := w.client("alice").CoreV1().ConfigMaps("shop")
	for round := range 6 {
		churn(t, c, 60)
		if round%2 == 0 {
			continue
		}
		// Everybody's place in history goes away, now and then.
		now, err := c.List(t.Context(), metav1.ListOptions{Limit: 1})
		check(t, err)
		check(t, w.backend.Compact(t.Context(), mustRevision(now.ResourceVersion)))
		w.restart()
	}
	link.repaired.Store(true)
	truth, err := c.List(t.Context(), metav1.ListOptions{})
	check(t, err)
	want := map[string]string{}
	for i := range truth.Items {
		want[truth.Items[i].Name] = truth.Items[i].ResourceVersion
	}
	for name, store := range stores {
		if diff := eventually(t, want, store); diff != "" {
			t.Errorf("%s (-truth +informer):\n%s", name, diff)
		}
	}
	if link.broken.Load() < 4 {
		t.Errorf("only %d connections broke: the test shows nothing", link.broken.Load())
	}
}

// inform runs an informer until the test ends.
func inform(t *testing.T, name string, client kubernetes.Interface, streaming bool) cache.Store {
	maps := client.CoreV1().ConfigMaps("shop")
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return maps.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return maps.Watch(ctx, o)
		},
	}
	var from cache.ListerWatcher = cache.ToListWatcherWithWatchListSemantics(lw, client)
	if !streaming {
		from = cache.ToListWatcherWithWatchListSemantics(lw, legacy{})
	}
	seen := &witness{t: t, name: name, seen: map[string]int64{}}
	informer := cache.NewSharedIndexInformer(from, &corev1.ConfigMap{}, 0, nil)
	check(t, informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})) // they are what is tested
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: seen.see, UpdateFunc: func(_, o any) { seen.see(o) }})
	check(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return informer.GetStore()
}

// churn writes at random.
func churn(t *testing.T, c typedv1.ConfigMapInterface, n int) {
	t.Helper()
	for range n {
		name := fmt.Sprint("m", rand.IntN(20))
		var err error
		switch rand.IntN(4) {
		case 0:
			err = c.Delete(t.Context(), name, metav1.DeleteOptions{})
		case 1:
			_, err = c.Create(t.Context(), configMap(name), metav1.CreateOptions{})
		default:
			_, err = c.Update(t.Context(), configMap(name, "n", strconv.Itoa(rand.Int())), metav1.UpdateOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
}

// eventually waits until a store has what it should, or gives the difference.
func eventually(t *testing.T, want map[string]string, store cache.Store) (diff string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		got := map[string]string{}
		for _, o := range store.List() {
			m := o.(*corev1.ConfigMap)
			got[m.Name] = m.ResourceVersion
		}
		if diff = cmp.Diff(want, got); diff == "" {
			return ""
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), errors.New(diff)).Error()
		}
	}
}
