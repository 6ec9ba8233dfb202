package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/store/memkv"
	"github.com/headway-sh/headway/apiserver/store/storetest"
	"github.com/headway-sh/headway/internal/failpoint"
)

func put(t testing.TB, s *store.Store, name, value string, expect int64) *store.Done {
	t.Helper()
	done, err := s.Txn(t.Context(), store.Txn{Writes: []store.Write{storetest.Put(storetest.ConfigMap("shop", name, value), expect)}})
	if err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
	return done
}

func TestWatchesSurviveBrokenBackendWatches(t *testing.T) {
	t.Parallel()
	kv := memkv.New()
	stores := []*store.Store{storetest.Start(t, kv), storetest.Start(t, kv)}
	var mu sync.Mutex // guards release
	release := func() {}
	storetest.CheckWatches(t, kv, stores, storetest.Load{Writers: 4, Writes: 40, Watchers: 6, Between: func(r *rand.Rand) {
		switch r.IntN(10) {
		case 0:
			kv.DropWatches()
		case 1:
			// Held watches block all writers; somebody must let go.
			mu.Lock()
			release = kv.HoldWatches()
			mu.Unlock()
			time.AfterFunc(time.Millisecond, release)
		}
	}})
	mu.Lock()
	defer mu.Unlock()
	release()
}

func TestReadsWaitForADelayedWatch(t *testing.T) {
	t.Parallel()
	kv := memkv.New()
	a, b := storetest.Start(t, kv), storetest.Start(t, kv)
	done := put(t, a, "x", "1", 0)
	if err := b.WaitFor(t.Context(), done.Revision); err != nil {
		t.Fatal(err)
	}
	release := kv.HoldWatches()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := a.Txn(ctx, store.Txn{Writes: []store.Write{storetest.Put(storetest.ConfigMap("shop", "y", ""), 0)}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write whose publication is held back: %v, want to wait until the deadline", err)
	}
	if b.Snapshot().Count(storetest.ConfigMaps) != 1 {
		t.Error("the held watch has delivered")
	}
	got := make(chan int, 1)
	go func() {
		now, err := b.Current(t.Context())
		if err != nil {
			t.Errorf("current: %v", err)
			got <- 0
			return
		}
		got <- now.Count(storetest.ConfigMaps)
	}()
	release()
	if n := <-got; n != 2 {
		t.Errorf("a consistent read saw %d objects, want 2", n)
	}
}

func TestFallingBehindHistoryStartsOver(t *testing.T) {
	t.Parallel()
	kv := memkv.New()
	writer, lagging := storetest.Start(t, kv), storetest.Start(t, kv)
	w, err := lagging.Watch(t.Context(), store.WatchOptions{Resource: storetest.ConfigMaps})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	release := kv.HoldWatches()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var last int64
	for i := range 10 {
		r, err := kv.Txn(t.Context(), store.Request{Ops: []store.Op{{Key: fmt.Sprintf("/registry/configmaps/shop/m%d", i), Value: fmt.Appendf(nil, `{"metadata":{"namespace":"shop","name":"m%d"}}`, i)}}})
		if err != nil {
			t.Fatal(err)
		}
		last = r.Revision
	}
	if err := kv.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	kv.DropWatches()
	release()
	for _, s := range []*store.Store{writer, lagging} {
		if err := s.WaitFor(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		if n := s.Snapshot().Count(storetest.ConfigMaps); n != 10 {
			t.Errorf("%d objects after starting over, want 10", n)
		}
	}
	if _, err := w.Next(ctx); !store.IsExpired(err) {
		t.Errorf("a watcher over the gap: %v, want an expired error", err)
	}
	put(t, writer, "new", "", 0)
}

func TestCompactionFollowsWrites(t *testing.T) {
	t.Parallel()
	kv := memkv.New()
	clock := clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	s := storetest.Start(t, kv, func(c *store.Config) {
		c.Clock, c.HistoryTime, c.HistoryRevisions = clock, 5*time.Minute, 100
	})
	revision := int64(0)
	var early int64
	write := func(n int) {
		for range n {
			revision = put(t, s, "x", "v", revision).Revision
		}
	}
	write(50)
	early = revision
	for range 20 { // ten minutes with few writes: young enough by count
		clock.Step(30 * time.Second)
		write(1)
	}
	if got := kv.Compacted(); got != 0 {
		t.Fatalf("compacted to %d though fewer than 100 revisions were written", got)
	}
	await(t, func() bool { // housekeeping looks when it gets to it
		clock.Step(30 * time.Second)
		write(1)
		return kv.Compacted() > 0
	})
	got := kv.Compacted()
	if got == 0 || got > revision-100 {
		t.Errorf("compacted to %d of %d, want something at least 100 behind", got, revision)
	}
	if _, err := s.At(t.Context(), early, storetest.Pods); err != nil {
		t.Errorf("exact read of what never changed: %v", err)
	}
}

func TestPressure(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		usage store.Usage
		want  float64
	}{
		{"full", store.Usage{Size: 75, InUse: 70, Quota: 100}, 0.75},
		{"large and empty is made smaller", store.Usage{Size: 75, InUse: 20, Quota: 100}, 0.20},
		{"small and empty is left alone", store.Usage{Size: 50, InUse: 20, Quota: 100}, 0.50},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			kv := memkv.New()
			kv.SetUsage(test.usage)
			s := storetest.Start(t, kv)
			await(t, func() bool { return s.Pressure() > 0 })
			if got := s.Pressure(); got != test.want {
				t.Errorf("pressure %v, want %v", got, test.want)
			}
		})
	}
}

// TestFullStorageForgetsHistory: what is kept of the past makes way before the
// storage is full.
func TestFullStorageForgetsHistory(t *testing.T) {
	t.Parallel()
	kv := memkv.New()
	kv.SetUsage(store.Usage{Size: 85, InUse: 80, Quota: 100})
	s := storetest.Start(t, kv)
	var revision int64
	written := 0
	await(t, func() bool {
		written++
		done, err := s.Txn(t.Context(), store.Txn{Writes: []store.Write{storetest.Put(storetest.ConfigMap("shop", fmt.Sprint(written), ""), 0)}})
		if err != nil {
			t.Fatal(err)
		}
		revision = done.Revision
		return kv.Compacted() > 10
	})
	if got := kv.Compacted(); got > revision-10 {
		t.Errorf("compacted to %d of %d, want the last ten kept", got, revision)
	}
}

func TestLargeTransactionsAreNamed(t *testing.T) {
	t.Parallel()
	kv := memkv.New()
	kv.SetOperationLimit(2)
	s := storetest.Start(t, kv)
	var tx store.Txn
	for i := range 3 {
		tx.Writes = append(tx.Writes, storetest.Put(storetest.ConfigMap("shop", fmt.Sprint(i), ""), 0))
	}
	_, err := s.Txn(t.Context(), tx)
	if n, ok := store.IsLimit(err); !ok || n != 2 {
		t.Errorf("a transaction over the limit: %v, want the limit of 2", err)
	}
}

func TestFailpoints(t *testing.T) {
	s := storetest.Start(t, memkv.New())
	for point, written := range map[string]bool{"store.txn.before": false, "store.txn.after": true} {
		clear, err := failpoint.Set(point, "error")
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Txn(t.Context(), store.Txn{Writes: []store.Write{storetest.Put(storetest.ConfigMap("shop", point, ""), 0)}})
		clear()
		if !failpoint.Is(err) {
			t.Errorf("%s: %v, want the failpoint's error", point, err)
		}
		now, err := s.Current(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := now.Get(txn.Ref{Resource: storetest.ConfigMaps, Namespace: "shop", Name: point}); ok != written {
			t.Errorf("%s: written %v, want %v", point, ok, written)
		}
	}
}

// await polls a condition that nothing announces.
func await(t testing.TB, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the condition does not come true")
		}
	}
}
