package storetest

import (
	"errors"
	"fmt"

	"github.com/headway-sh/headway/apiserver/store"
)

// What a watch promises, by the names of what breaks it.
var (
	errWatchReordered  = errors.New("a watcher saw revisions out of order")
	errWatchGap        = errors.New("a watcher missed an event")
	errWatchDuplicated = errors.New("a watcher saw an event twice")
	errWatchInvented   = errors.New("a watcher saw an event that never happened")
	errWatchType       = errors.New("a watcher saw another type of event than happened")
	errBatchSplit      = errors.New("a watcher saw a part of a batch")
	errBookmarkEarly   = errors.New("a bookmark came before an event that it covers")
	errBookmarkBatch   = errors.New("a bookmark has the revision of a batch")
)

// fact is one change as the backend knows it.
type fact struct {
	revision int64
	key      string // namespace/name
	kind     store.EventType
}

// record is what a watcher got, in the order of deliveries.
type record struct {
	from       int64
	deliveries []delivery
}

type delivery struct {
	facts    []fact
	bookmark int64
	resumed  int64 // a new watch began at the revision
}

// last is the newest delivery's events.
func (r *record) last() []fact { return r.deliveries[len(r.deliveries)-1].facts }

// validate checks a watcher's record against everything that happened to its
// resource. batches are the revisions with several objects. The record must
// reach to the end of the facts.
func validate(r record, facts []fact, batches map[int64]bool) error {
	var want []fact
	happened := map[fact]bool{}
	for _, f := range facts {
		happened[f] = true
		if f.revision > r.from {
			want = append(want, f)
		}
	}
	var got []fact
	covered := r.from
	seen := map[fact]bool{}
	for _, d := range r.deliveries {
		if d.resumed > 0 {
			covered = d.resumed
			if batches[d.resumed] {
				// The one repetition that is permitted, and it must happen.
				got = forget(got, seen, d.resumed)
				covered--
			}
			continue
		}
		if d.bookmark > 0 {
			if batches[d.bookmark] {
				return fmt.Errorf("%w: %d", errBookmarkBatch, d.bookmark)
			}
			covered = max(covered, d.bookmark)
			continue
		}
		first := covered
		for i, f := range d.facts {
			switch {
			case seen[f]:
				return fmt.Errorf("%w: %v", errWatchDuplicated, f)
			case !happened[f]:
				for k := range happened {
					if k.revision == f.revision && k.key == f.key {
						return fmt.Errorf("%w: %v, not %v", errWatchType, f, k)
					}
				}
				return fmt.Errorf("%w: %v", errWatchInvented, f)
			case f.revision <= first:
				return fmt.Errorf("%w: %v after %d", errBookmarkEarly, f, first)
			case i > 0 && f.revision < d.facts[i-1].revision:
				return fmt.Errorf("%w: %v after %v", errWatchReordered, f, d.facts[i-1])
			}
			seen[f] = true
			covered = max(covered, f.revision)
		}
		if err := whole(d.facts, facts); err != nil {
			return err
		}
		got = append(got, d.facts...)
	}
	for i, f := range want {
		if i >= len(got) || got[i].revision > f.revision {
			return fmt.Errorf("%w: %v", errWatchGap, f)
		}
	}
	return nil
}

// forget takes a revision's events back out of what was seen.
func forget(got []fact, seen map[fact]bool, revision int64) []fact {
	for len(got) > 0 && got[len(got)-1].revision == revision {
		delete(seen, got[len(got)-1])
		got = got[:len(got)-1]
	}
	return got
}

// whole checks that a delivery has all events of its last revision: the next
// one cannot add to it.
func whole(delivered, facts []fact) error {
	last, count := delivered[len(delivered)-1].revision, 0
	for _, f := range delivered {
		if f.revision == last {
			count++
		}
	}
	for _, f := range facts {
		if f.revision == last {
			count--
		}
	}
	if count != 0 {
		return fmt.Errorf("%w: revision %d", errBatchSplit, last)
	}
	return nil
}
