package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/apiserver/store"
)

// drain reads what a watcher has to deliver now.
func drain(t testing.TB, w *store.Watcher) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := []string{}
	for {
		d, err := w.Next(ctx)
		if errors.Is(err, context.Canceled) {
			return got
		}
		if err != nil {
			t.Fatalf("next after %v: %v", got, err)
		}
		for _, e := range d.Events {
			before := int64(0)
			if e.Before != nil {
				before = e.Before.Revision
			}
			got = append(got, fmt.Sprintf("%s at %d after %d", describe(e), e.Revision(), before))
		}
	}
}

// testWatchResumesBeforeTheStart opens a second store on what a first one has
// written, and resumes there at every revision that the first has seen: both
// must tell the same.
func testWatchResumesBeforeTheStart(t *testing.T, backend store.Backend) {
	first := Start(t, backend)
	begin := first.Snapshot().Revision()
	a := write(t, first, Put(Pod("shop", "a", "n1"), 0), Put(Pod("bank", "b", "n2"), 0))
	a = write(t, first, Put(Pod("shop", "a", "n2"), a.Revision))
	m := write(t, first, Put(ConfigMap("shop", "m", ""), 0))
	write(t, first, Put(Pod("shop", "c", "n1"), 0))
	a = write(t, first, store.Write{Ref: podRef("shop", "a"), Expect: a.Revision})
	a = write(t, first, Put(Pod("shop", "a", "n1"), 0))
	write(t, first, store.Write{Ref: mapRef("shop", "m"), Expect: m.Revision})

	second := Start(t, backend)
	live := watch(t, second, store.WatchOptions{Resource: Pods})
	part := watch(t, second, store.WatchOptions{Resource: Pods, Index: "spec.nodeName", IndexValue: "n1"})
	end := first.Snapshot().Revision()
	// From the newest to the oldest: each asks for a little more.
	for from := end; from > begin; from-- {
		for name, o := range map[string]store.WatchOptions{
			"pods": {Resource: Pods}, "maps": {Resource: ConfigMaps}, "nodes": {Resource: Nodes},
			"namespace": {Resource: Pods, Namespace: "shop"}, "object": {Resource: Pods, Namespace: "shop", Name: "a"},
			"on n1": {Resource: Pods, Index: "spec.nodeName", IndexValue: "n1"}, "on n2": {Resource: Pods, Index: "spec.nodeName", IndexValue: "n2"},
		} {
			o.From = from
			want, got := drain(t, watch(t, first, o)), drain(t, watch(t, second, o))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s from %d (-first store +second):\n%s", name, from, diff)
			}
		}
	}
	write(t, second, Put(Pod("shop", "a", "n2"), a.Revision))
	expect(t, live, "modified shop/a")
	expect(t, part, "deleted shop/a")
}

func testHistoryIsBounded(t *testing.T, backend store.Backend) {
	first := Start(t, backend)
	begin := first.Snapshot().Revision()
	var revisions []int64
	for i := range 12 {
		revisions = append(revisions, write(t, first, Put(ConfigMap("shop", fmt.Sprint(i), ""), 0)).Revision)
	}
	small := Start(t, backend, func(c *store.Config) { c.LogEvents = 8 })
	resume := func(s *store.Store, from int64) error {
		w, err := s.Watch(t.Context(), store.WatchOptions{Resource: ConfigMaps, From: from})
		if err == nil {
			w.Close()
		}
		return err
	}
	if err := resume(small, begin); !store.IsExpired(err) {
		t.Errorf("twelve events in a log of eight: %v, want an expired error", err)
	}
	if err := resume(small, revisions[5]); err != nil {
		t.Errorf("the last six events: %v", err)
	}
	if err := backend.Compact(t.Context(), revisions[8]); err != nil {
		t.Fatal(err)
	}
	late := Start(t, backend)
	if err := resume(late, revisions[6]); !store.IsExpired(err) {
		t.Errorf("from before the compaction: %v, want an expired error", err)
	}
	if err := resume(late, revisions[10]); err != nil {
		t.Errorf("from after the compaction: %v", err)
	}
	if err := resume(small, revisions[6]); err != nil {
		t.Errorf("what was recalled before the compaction: %v", err)
	}
}
