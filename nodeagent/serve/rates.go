package serve

import (
	"sync"
	"time"
)

// minWindow is the shortest time over which a rate says something.
const minWindow = time.Second

// rates remember how much processor time things had used when they were looked
// at last, so that the next look can tell at which rate they use it.
type rates struct {
	mu   sync.Mutex // guards seen
	seen map[string]seen
}

type seen struct {
	at   time.Time
	cpu  uint64
	rate *uint64 // nil until there are two looks
}

// next begins a look: what is not asked for during it is forgotten with the
// look after it.
func (r *rates) next() func(key string) func(used) *uint64 {
	r.mu.Lock()
	before, now := r.seen, map[string]seen{}
	r.seen = now
	r.mu.Unlock()
	return func(key string) func(used) *uint64 {
		return func(u used) *uint64 {
			r.mu.Lock()
			defer r.mu.Unlock()
			s := advance(before[key], u)
			now[key] = s
			return s.rate
		}
	}
}

// advance is what is known after another look. Looks that follow each other too
// closely say what was said before; one that is less than the last, as of a
// group that was made anew, begins again.
func advance(last seen, u used) seen {
	window := u.Time.Sub(last.at)
	switch {
	case last.at.IsZero(), u.CPUUsageNanoseconds < last.cpu:
		return seen{at: u.Time, cpu: u.CPUUsageNanoseconds}
	case window < minWindow:
		return last
	}
	rate := uint64(float64(u.CPUUsageNanoseconds-last.cpu) / window.Seconds())
	return seen{at: u.Time, cpu: u.CPUUsageNanoseconds, rate: &rate}
}
