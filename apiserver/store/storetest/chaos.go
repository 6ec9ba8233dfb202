package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
)

func quietLogger() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// Load is a random mix of writers on few keys and watchers that come, go and
// resume, over one or more stores on the same backend.
type Load struct {
	Writers, Writes, Watchers int
	// Between, when not nil, is called after every write to disturb something.
	Between func(r *rand.Rand)
}

func testWatchGuarantees(t *testing.T, backend store.Backend) {
	stores := []*store.Store{Start(t, backend), Start(t, backend)}
	CheckWatches(t, backend, stores, Load{Writers: 4, Writes: 60, Watchers: 6})
}

// CheckWatches runs a load and validates what every watcher saw against the
// backend's own history. The stores must end with the same objects.
func CheckWatches(t *testing.T, backend store.Backend, stores []*store.Store, load Load) {
	t.Helper()
	start := stores[0].Snapshot().Revision()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var writers, watchers sync.WaitGroup
	end := make(chan int64)
	records := make([]record, load.Watchers)
	for i := range load.Watchers {
		watchers.Go(func() {
			r, err := follow(ctx, stores[i%len(stores)], start, rand.New(rand.NewPCG(uint64(i), 1)), end)
			if err != nil {
				t.Errorf("watcher %d: %v", i, err)
			}
			records[i] = r
		})
	}
	for i := range load.Writers {
		writers.Go(func() {
			scribble(ctx, t, stores[i%len(stores)], rand.New(rand.NewPCG(uint64(i), 2)), load)
		})
	}
	writers.Wait()
	last, err := backend.Revision(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range load.Watchers {
		select {
		case end <- last:
		case <-ctx.Done():
			t.Fatal("the watchers do not end")
		}
	}
	watchers.Wait()
	facts, batches := history(ctx, t, backend, start, last)
	for i, r := range records {
		if err := validate(r, facts, batches); err != nil {
			t.Errorf("watcher %d: %v", i, err)
		}
	}
	for _, s := range stores {
		if err := s.WaitFor(ctx, last); err != nil {
			t.Fatal(err)
		}
		same(t, stores[0], s)
	}
}

// follow watches until it has seen the revision that end gives, closing and
// resuming at bookmarks on the way.
func follow(ctx context.Context, s *store.Store, from int64, random *rand.Rand, end <-chan int64) (record, error) {
	r := record{from: from}
	var until int64
	for until == 0 || from < until {
		r.deliveries = append(r.deliveries, delivery{resumed: from})
		w, err := s.Watch(ctx, store.WatchOptions{Resource: ConfigMaps, From: from, Bookmarks: time.Millisecond})
		if err != nil {
			return r, err
		}
		for rounds := random.IntN(20); rounds >= 0 && (until == 0 || from < until); rounds-- {
			if until == 0 {
				select {
				case until = <-end:
				default:
				}
			}
			short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
			d, err := w.Next(short)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
				continue
			}
			if err != nil {
				w.Close()
				return r, err
			}
			got := delivery{bookmark: d.Bookmark}
			for _, e := range d.Events {
				got.facts = append(got.facts, fact{e.Revision(), e.Entry.Ref.Namespace + "/" + e.Entry.Ref.Name, e.Type})
			}
			r.deliveries = append(r.deliveries, got)
		}
		if from = w.Revision(); random.IntN(2) == 0 && len(r.last()) > 0 {
			from = r.last()[len(r.last())-1].revision // as a client without bookmarks
		}
		w.Close()
	}
	return r, nil
}

// scribble writes at random: single objects, removals and batches, on its
// newest snapshot. Losing against another writer is part of it.
func scribble(ctx context.Context, t *testing.T, s *store.Store, random *rand.Rand, load Load) {
	for range load.Writes {
		now := s.Snapshot()
		var tx store.Txn
		used := map[string]bool{}
		size := 1
		if random.IntN(4) == 0 {
			size = 2 + random.IntN(4)
		}
		for range size {
			name := fmt.Sprintf("m%d", random.IntN(12))
			if used[name] {
				continue
			}
			used[name] = true
			w := store.Write{Ref: mapRef("shop", name)}
			e := now.Entry(w.Ref)
			if e != nil {
				w.Expect = e.Revision
			}
			if e == nil || random.IntN(3) > 0 {
				w.Object = ConfigMap("shop", name, fmt.Sprint(random.Int()))
			}
			tx.Writes = append(tx.Writes, w)
		}
		tx.Independent = random.IntN(3) == 0
		if _, err := s.Txn(ctx, tx); err != nil && !txn.IsConflict(err) {
			t.Errorf("write: %v", err)
			return
		}
		if load.Between != nil {
			load.Between(random)
		}
	}
}

// history reads from the backend what happened to config maps.
func history(ctx context.Context, t *testing.T, backend store.Backend, from, to int64) ([]fact, map[int64]bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	const prefix = "/registry/configmaps/"
	before, err := backend.Range(ctx, prefix, "/registry/configmaps0", from, 0)
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	for _, kv := range before.Items {
		exists[kv.Key] = true
	}
	updates := backend.Watch(ctx, prefix, "/registry/configmaps0", from+1)
	defer func() {
		cancel()
		for range updates {
		}
	}()
	if err := backend.Progress(ctx); err != nil {
		t.Fatal(err)
	}
	var facts []fact
	count, batches := map[int64]int{}, map[int64]bool{}
	for done := from; done < to; {
		var u store.Update
		select {
		case u = <-updates:
		case <-time.After(100 * time.Millisecond):
			// The last revisions may be markers': ask how far the watch is.
			if err := backend.Progress(ctx); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if u.Err != nil {
			t.Fatalf("read history: %v", u.Err)
		}
		for _, c := range u.Changes {
			f := fact{revision: c.Revision, key: c.Key[len(prefix):]}
			switch {
			case c.Deleted:
				f.kind = store.Deleted
			case exists[c.Key]:
				f.kind = store.Modified
			}
			exists[c.Key] = !c.Deleted
			facts = append(facts, f)
			if count[c.Revision]++; count[c.Revision] > 1 {
				batches[c.Revision] = true
			}
			done = max(done, c.Revision)
		}
		if len(u.Changes) == 0 {
			done = max(done, u.Revision)
		}
	}
	return facts, batches
}
