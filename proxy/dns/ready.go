package dns

import (
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
)

const (
	// readyLimit bounds how many answers are kept packed.
	readyLimit = 16384
	// turns is how many orders of an answer's records are kept: clients take the
	// first address, and each order begins with another.
	turns = 8
)

// ready keeps answers as packets, until the zone changes.
type ready struct {
	zone    *Zone
	version atomic.Uint64 // of the zone that the answers are from
	mu      sync.RWMutex  // guards answers
	answers map[string]*packets
}

type packets struct {
	next   atomic.Uint32
	orders [][]byte
}

func newReady(zone *Zone) *ready { return &ready{zone: zone, answers: map[string]*packets{}} }

// get gives the answer to a query's like, nil when there is none.
func (r *ready) get(key []byte) []byte {
	if r.version.Load() != r.zone.version.Load() {
		return nil
	}
	r.mu.RLock()
	p := r.answers[string(key)]
	r.mu.RUnlock()
	if p == nil {
		return nil
	}
	if len(p.orders) == 1 {
		return p.orders[0]
	}
	return p.orders[int(p.next.Add(1))%len(p.orders)]
}

// put keeps an answer that was made of a version of the zone. The answer's own
// number, recursion bit and spelling do not matter.
func (r *ready) put(key []byte, version uint64, m *dns.Msg, limit int) {
	if version == 0 {
		return
	}
	p := &packets{}
	records := m.Answer
	for turn := range max(1, min(len(records), turns)) {
		m.Answer = append(append([]dns.RR{}, records[turn:]...), records[:turn]...)
		if len(records) > 0 && records[0].Header().Rrtype == dns.TypeCNAME {
			m.Answer = records // a chain has an order
		}
		packed, err := m.Pack()
		if err != nil || len(packed) > limit {
			m.Answer = records
			return
		}
		p.orders = append(p.orders, packed)
	}
	m.Answer = records
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.version.Load() != version || len(r.answers) >= readyLimit {
		clear(r.answers)
		r.version.Store(version)
	}
	r.answers[string(key)] = p
}
