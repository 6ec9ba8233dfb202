// Package spareheap keeps the heap as large as the work needs it. The runtime
// keeps as much as the heap may grow to before the next collection, which is a
// multiple of what is alive, also when little is done: a process that is idle
// after a burst never comes to that collection. So the room for growth follows
// the work (see Percent), and what a burst has left is given back.
package spareheap

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"k8s.io/utils/clock"
)

// Every is how often is looked. A look costs microseconds.
const Every = 10 * time.Second

const (
	// worth is how much has to be spare: a collection costs CPU time, so a few
	// megabytes are left.
	worth = 24 << 20
	// quiet is how much a process may allocate between two looks and still be
	// idle: it will not need what it has right away.
	quiet = 3 << 20
	// worked is how much it has to have allocated since memory was given back.
	worked = 8 << 20
	// speed is how many bytes of what is alive one processor looks through in a
	// second, and share the part of one that collections may take before the
	// heap gets more room.
	speed = 500 << 20
	share = 0.02
	// least is the room that a heap always has.
	least = 16 << 20
)

// reading is the heap at a moment.
type reading struct {
	// spare is what may hold nothing that lives: free spans, and what was
	// allocated since the last collection found what lives.
	spare uint64
	// allocated is all that was ever allocated, and live what the last
	// collection found alive.
	allocated, live uint64
}

func read() reading {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"},
	}
	metrics.Read(samples)
	at := func(i int) uint64 { return samples[i].Value.Uint64() }
	r := reading{spare: at(0) + at(1), allocated: at(4), live: at(3)}
	if objects, live := at(2), at(3); objects > live {
		r.spare += objects - live
	}
	return r
}

// due tells whether memory is to be given back: there is much of it, nothing has
// happened since the look before, and something has since it was given back
// last.
func due(last, before, now reading) bool {
	return now.spare >= worth && now.allocated-before.allocated < quiet && now.allocated-last.allocated >= worked
}

// Percent is by how much a heap with so many bytes alive is to grow before it
// is collected, when so many bytes are allocated in a second: as much as keeps
// collections below their share of a processor, and at least a quarter. most
// bounds it; a heap that is worked in hard has that.
func Percent(live, rate uint64, most int) int {
	const whole = 100
	live = max(live, 1)
	between := float64(live) / speed / share // seconds from one collection to the next
	room := max(float64(rate)*between, least, float64(live)/4)
	return int(min(room*whole/float64(live), float64(most)))
}

// Run looks until the context ends. most is the percentage for a process at
// work (see Percent); 0: how much the heap may grow is not to be touched.
func Run(ctx context.Context, clk clock.WithTicker, most int) error {
	ticker := clk.NewTicker(Every)
	defer ticker.Stop()
	last, before, percent := reading{}, read(), most
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
		if most > 0 {
			if next := Percent(now.live, (now.allocated-before.allocated)/uint64(Every/time.Second), most); next < percent*3/4 || next > percent*5/4 {
				debug.SetGCPercent(next)
				percent = next
			}
		}
		before = now
	}
}
