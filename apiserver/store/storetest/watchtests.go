package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/apiserver/store"
)

func watch(t testing.TB, s *store.Store, o store.WatchOptions) *store.Watcher {
	t.Helper()
	w, err := s.Watch(t.Context(), o)
	if err != nil {
		t.Fatalf("watch %+v: %v", o, err)
	}
	t.Cleanup(w.Close)
	return w
}

func describe(e *store.Event) string {
	return fmt.Sprintf("%s %s/%s", []string{"added", "modified", "deleted"}[e.Type], e.Entry.Ref.Namespace, e.Entry.Ref.Name)
}

// expect reads as many events as it wants and compares them.
func expect(t testing.TB, w *store.Watcher, want ...string) []*store.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var events []*store.Event
	var got []string
	for len(got) < len(want) {
		d, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("next after %v: %v", got, err)
		}
		for _, e := range d.Events {
			events = append(events, e)
			got = append(got, describe(e))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	return events
}

// silent fails the test when a watcher has something to deliver now. The
// store's newest write must have been made before.
func silent(t testing.TB, w *store.Watcher) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a watcher that had nothing to see got %v, %v", d, err)
	}
}

func testBatchIsWhole(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	w := watch(t, s, store.WatchOptions{Resource: ConfigMaps})
	var writes []store.Write
	for i := range 600 {
		writes = append(writes, Put(ConfigMap("shop", fmt.Sprintf("m%03d", i), ""), 0))
	}
	done := write(t, s, writes...)
	for _, e := range done.Entries {
		if e.Revision != done.Revision {
			t.Fatalf("%s is at %d, want all at %d", e.Ref, e.Revision, done.Revision)
		}
	}
	if got := s.Snapshot().Revision(); got <= done.Revision {
		t.Errorf("the snapshot shows %d, the batch's %d", got, done.Revision)
	}
	d, err := w.Next(t.Context())
	if err != nil || len(d.Events) != 600 {
		t.Errorf("one delivery has %d events, %v; want the whole batch", len(d.Events), err)
	}
}

func testBatchOfDeadWriter(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	batch := func(name string) int64 {
		r, err := backend.Txn(t.Context(), store.Request{Ops: []store.Op{
			{Key: "/registry/configmaps/shop/" + name + "1", Value: []byte(`{"metadata":{"namespace":"shop","name":"` + name + `1"}}`)},
			{Key: "/registry/configmaps/shop/" + name + "2", Value: []byte(`{"metadata":{"namespace":"shop","name":"` + name + `2"}}`)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return r.Revision
	}
	revision := batch("a")
	if err := s.WaitFor(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	if got := s.Snapshot(); got.Revision() <= revision || got.Count(ConfigMaps) != 2 {
		t.Errorf("running store shows %d with %d objects, want 2 after batch %d", got.Revision(), got.Count(ConfigMaps), revision)
	}
	late, err := backend.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WaitFor(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	revision = batch("b")
	fresh := Start(t, backend)
	if got := fresh.Snapshot(); got.Revision() <= revision || got.Count(ConfigMaps) != 4 {
		t.Errorf("fresh store shows %d with %d objects, want 4 after batch %d", got.Revision(), got.Count(ConfigMaps), revision)
	}
}

func testBatchResume(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	done := write(t, s, Put(ConfigMap("shop", "a", ""), 0), Put(ConfigMap("shop", "b", ""), 0), Put(Pod("bank", "p", ""), 0))
	write(t, s, Put(ConfigMap("shop", "c", ""), 0))
	write(t, s, Put(Pod("bank", "q", ""), 0))
	all := watch(t, s, store.WatchOptions{Resource: ConfigMaps, From: done.Revision})
	expect(t, all, "added shop/a", "added shop/b", "added shop/c")
	one := watch(t, s, store.WatchOptions{Resource: Pods, From: done.Revision})
	expect(t, one, "added bank/q")
	name := watch(t, s, store.WatchOptions{Resource: ConfigMaps, Namespace: "shop", Name: "a", From: done.Revision})
	silent(t, name)
}

func testWatchSelections(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	from := write(t, s, Put(ConfigMap("a", "x", "0"), 0)).Revision
	options := map[string]store.WatchOptions{
		"all":              {},
		"namespace":        {Namespace: "a"},
		"object":           {Namespace: "b", Name: "x"},
		"name":             {Name: "x"},
		"nothing of these": {Namespace: "none"},
	}
	want := map[string][]string{
		"all":       {"modified a/x", "added a/y", "added b/x", "deleted b/x"},
		"namespace": {"modified a/x", "added a/y"},
		"object":    {"added b/x", "deleted b/x"},
		"name":      {"modified a/x", "added b/x", "deleted b/x"},
	}
	live := map[string]*store.Watcher{}
	for name, o := range options {
		o.Resource = ConfigMaps
		live[name] = watch(t, s, o)
	}
	write(t, s, Put(ConfigMap("a", "x", "1"), from))
	write(t, s, Put(ConfigMap("a", "y", ""), 0))
	b := write(t, s, Put(ConfigMap("b", "x", ""), 0))
	gone := write(t, s, store.Write{Ref: mapRef("b", "x"), Expect: b.Revision})
	for name, o := range options {
		o.Resource, o.From = ConfigMaps, from
		for how, w := range map[string]*store.Watcher{"live": live[name], "resumed": watch(t, s, o)} {
			t.Run(name+" "+how, func(t *testing.T) {
				events := expect(t, w, want[name]...)
				silent(t, w)
				for _, e := range events {
					if e.Type == store.Deleted && (e.Revision() != gone.Revision || e.Entry.Object.GetResourceVersion() != fmt.Sprint(gone.Revision) || e.Before.Revision != b.Revision) {
						t.Errorf("deletion at %d of %d, want %d of %d", e.Revision(), e.Before.Revision, gone.Revision, b.Revision)
					}
				}
			})
		}
	}
}

func testWatchIndexTransitions(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	from := s.Snapshot().Revision()
	on := func(node, namespace string, from int64) store.WatchOptions {
		return store.WatchOptions{Resource: Pods, Index: "spec.nodeName", IndexValue: node, Namespace: namespace, From: from}
	}
	options := []store.WatchOptions{on("n1", "", 0), on("n2", "", 0), on("", "", 0), on("n1", "bank", 0)}
	var live []*store.Watcher
	for _, o := range options {
		live = append(live, watch(t, s, o))
	}
	a := write(t, s, Put(Pod("shop", "a", ""), 0))
	a = write(t, s, Put(Pod("shop", "a", "n1"), a.Revision))
	a = write(t, s, Put(Pod("shop", "a", "n1"), a.Revision))
	a = write(t, s, Put(Pod("shop", "a", "n2"), a.Revision))
	write(t, s, store.Write{Ref: podRef("shop", "a"), Expect: a.Revision})
	write(t, s, Put(Pod("bank", "b", "n1"), 0))
	want := [][]string{
		{"added shop/a", "modified shop/a", "deleted shop/a", "added bank/b"},
		{"added shop/a", "deleted shop/a"},
		{"added shop/a", "deleted shop/a"},
		{"added bank/b"},
	}
	for i, o := range options {
		o.From = from
		for _, w := range []*store.Watcher{live[i], watch(t, s, o)} {
			events := expect(t, w, want[i]...)
			silent(t, w)
			for _, e := range events {
				if e.Entry.Object.GetResourceVersion() != fmt.Sprint(e.Revision()) {
					t.Errorf("%s carries resourceVersion %s at revision %d", describe(e), e.Entry.Object.GetResourceVersion(), e.Revision())
				}
			}
		}
	}
}

func testWatchExpires(t *testing.T, backend store.Backend) {
	s := Start(t, backend, func(c *store.Config) { c.LogEvents = 4 })
	from := s.Snapshot().Revision()
	slow := watch(t, s, store.WatchOptions{Resource: ConfigMaps})
	var last int64
	for i := range 20 {
		last = write(t, s, Put(ConfigMap("shop", fmt.Sprint(i), ""), 0)).Revision
	}
	if _, err := slow.Next(t.Context()); !store.IsExpired(err) {
		t.Errorf("a watcher that fell out of the log: %v, want an expired error", err)
	}
	for _, old := range []int64{1, from, last - 10} {
		if _, err := s.Watch(t.Context(), store.WatchOptions{Resource: ConfigMaps, From: old}); !store.IsExpired(err) {
			t.Errorf("watch from %d: %v, want an expired error", old, err)
		}
	}
	expect(t, watch(t, s, store.WatchOptions{Resource: ConfigMaps, From: last - 3}), "added shop/17", "added shop/18", "added shop/19")
}

// A watcher of something quiet stays, however much happens beside it.
func testWatchQuietPartsStay(t *testing.T, backend store.Backend) {
	s := Start(t, backend, func(c *store.Config) { c.LogEvents = 4 })
	quiet := []*store.Watcher{
		watch(t, s, store.WatchOptions{Resource: Pods, Index: "spec.nodeName", IndexValue: "quiet"}),
		watch(t, s, store.WatchOptions{Resource: Pods, Namespace: "quiet"}),
		watch(t, s, store.WatchOptions{Resource: Pods, Namespace: "quiet", Name: "p"}),
	}
	for i := range 50 {
		write(t, s, Put(Pod("busy", fmt.Sprint(i), "busy"), 0))
	}
	write(t, s, Put(Pod("quiet", "p", "quiet"), 0))
	for _, w := range quiet {
		expect(t, w, "added quiet/p")
	}
}

func testWatchBookmarks(t *testing.T, backend store.Backend) {
	s := Start(t, backend)
	w := watch(t, s, store.WatchOptions{Resource: ConfigMaps, Namespace: "quiet", Bookmarks: time.Millisecond})
	done := write(t, s, Put(ConfigMap("busy", "a", ""), 0), Put(ConfigMap("busy", "b", ""), 0))
	d, err := w.Next(t.Context())
	if err != nil || len(d.Events) > 0 || d.Bookmark <= done.Revision {
		t.Errorf("got %v, %v; want a bookmark after the batch at %d", d, err, done.Revision)
	}
	if _, err := s.Watch(t.Context(), store.WatchOptions{Resource: ConfigMaps, From: d.Bookmark}); err != nil {
		t.Errorf("resume at a bookmark: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if d, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without progress: %v, %v; want silence", d, err)
	}
}

func testWatchStops(t *testing.T, backend store.Backend) {
	s, err := store.Open(t.Context(), store.Config{Backend: backend, Resources: Declare(), Logger: quietLogger()})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s)
	w := watch(t, s, store.WatchOptions{Resource: ConfigMaps})
	got := make(chan error, 2)
	go func() {
		_, err := w.Next(t.Context())
		got <- err
	}()
	go func() { got <- s.WaitFor(t.Context(), 1<<40) }()
	stop()
	for range 2 {
		if err := <-got; !errors.Is(err, store.ErrStopped) {
			t.Errorf("waiting when the store stops: %v, want %v", err, store.ErrStopped)
		}
	}
	if _, err := s.Current(t.Context()); err == nil || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("current of a stopped store: %v", err)
	}
}
