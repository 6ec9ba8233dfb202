// Package spareheap gives memory back that a burst of work has left in the
// heap. The runtime keeps as much as the heap may grow to before the next
// collection, which after a burst is a multiple of what is alive, and a process
// that is idle then never comes to it.
package spareheap

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"k8s.io/utils/clock"
)

// Every is how often is looked. A look costs microseconds.
const Every = 30 * time.Second

const (
	// worth is how much has to be spare: a collection costs CPU time, so a few
	// megabytes are left.
	worth = 24 << 20
	// quiet is how much a process may allocate between two looks and still be
	// idle: it will not need what it has right away.
	quiet = 8 << 20
)

// reading is the heap at a moment.
type reading struct {
	// spare is what may hold nothing that lives: free spans, and what was
	// allocated since the last collection found what lives.
	spare uint64
	// allocated is all that was ever allocated.
	allocated uint64
}

func read() reading {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"},
	}
	metrics.Read(samples)
	at := func(i int) uint64 { return samples[i].Value.Uint64() }
	r := reading{spare: at(0) + at(1), allocated: at(4)}
	if objects, live := at(2), at(3); objects > live {
		r.spare += objects - live
	}
	return r
}

// due tells whether memory is to be given back: there is much of it, nothing has
// happened since the look before, and something has since it was given back
// last.
func due(last, before, now reading) bool {
	return now.spare >= worth && now.allocated-before.allocated < quiet && now.allocated-last.allocated >= quiet
}

// Run looks until the context ends.
func Run(ctx context.Context, clk clock.WithTicker) error {
	ticker := clk.NewTicker(Every)
	defer ticker.Stop()
	last, before := reading{}, read()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
		now := read()
		if due(last, before, now) {
			debug.FreeOSMemory()
			now = read()
			last = now
		}
		before = now
	}
}
