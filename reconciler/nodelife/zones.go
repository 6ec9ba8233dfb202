package nodelife

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Eviction is how fast nodes in a bad state get the taints that evict their
// pods: when many go at once it is rather the network that has gone, or this
// server's, and moving everybody would do more harm. Zones are what the labels
// topology.kubernetes.io/region and zone tell apart. A field that is 0 is
// Kubernetes' default.
type Eviction struct {
	// Rate is how many nodes of a zone are tainted a second: 0.1.
	Rate float64
	// SecondaryRate is that in a large zone of which a large part is down: 0.01.
	// In a small one nobody is evicted then.
	SecondaryRate float64
	// UnhealthyZone is the part of a zone's nodes from which on it is down: 0.55;
	// it must be more than two nodes.
	UnhealthyZone float64
	// LargeZone is how many nodes a zone must have more than to be large: 50.
	LargeZone int
}

// Validate tells what makes no sense.
func (e Eviction) Validate() error {
	if e.Rate < 0 || e.SecondaryRate < 0 || e.UnhealthyZone < 0 || e.UnhealthyZone > 1 || e.LargeZone < 0 {
		return errors.New("eviction rates must not be negative, and the unhealthy part of a zone must be from 0 to 1")
	}
	return nil
}

func (e Eviction) complete() Eviction {
	e.Rate, e.SecondaryRate = cmp.Or(e.Rate, 0.1), cmp.Or(e.SecondaryRate, 0.01)
	e.UnhealthyZone, e.LargeZone = cmp.Or(e.UnhealthyZone, 0.55), cmp.Or(e.LargeZone, 50)
	return e
}

const (
	// manyNodes are too many to be down by themselves.
	manyNodes = 2
	// look is how long a count of the nodes is good for.
	look = time.Second
	// later is when a node is looked at again whose zone lets nobody go, and
	// muchLater when one is that has gone.
	later     = 5 * time.Second
	muchLater = 30 * time.Second
)

type zone struct{ region, name string }

func zoneOf(n *corev1.Node) zone {
	return zone{n.Labels[corev1.LabelTopologyRegion], n.Labels[corev1.LabelTopologyZone]}
}

// pace lets the nodes of each zone go one by one. It is safe for concurrent use.
type pace struct {
	Eviction
	mu      sync.Mutex // guards what follows
	counted time.Time
	rates   map[zone]float64
	nobody  bool // is ready in any zone
	next    map[zone]time.Time
}

func newPace(e Eviction) *pace { return &pace{Eviction: e.complete(), next: map[zone]time.Time{}} }

// may tells what is to become of a node's NoExecute taint, and when to ask again.
func (p *pace) may(ctx context.Context, c client.Reader, n *corev1.Node, now time.Time) (NoExecute, time.Duration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counted.IsZero() || now.Sub(p.counted) >= look || now.Before(p.counted) {
		if err := p.count(ctx, c, n); err != nil {
			return Keep, 0, err
		}
		p.counted = now
	}
	z := zoneOf(n)
	rate := p.rates[z]
	switch {
	case p.nobody:
		return Drop, later, nil
	case tainted(n):
		return Keep, muchLater, nil // all may go down yet
	case rate == 0:
		return Keep, later, nil
	case now.Before(p.next[z]):
		return Keep, p.next[z].Sub(now), nil
	}
	p.next[z] = now.Add(time.Duration(float64(time.Second) / rate))
	return Add, muchLater, nil
}

// count decides how fast each zone goes. What is known of n is newer than what
// the others are said to be.
func (p *pace) count(ctx context.Context, c client.Reader, n *corev1.Node) error {
	var list corev1.NodeList
	if err := c.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	type state struct{ ready, down int }
	zones := map[zone]*state{}
	p.nobody = true
	for i := range list.Items {
		other := &list.Items[i]
		if other.Name == n.Name {
			other = n
		}
		s := zones[zoneOf(other)]
		if s == nil {
			s = &state{}
			zones[zoneOf(other)] = s
		}
		if ready := condition(other, corev1.NodeReady); ready != nil && ready.Status == corev1.ConditionTrue {
			s.ready++
			p.nobody = false
		} else {
			s.down++
		}
	}
	p.rates = make(map[zone]float64, len(zones))
	for z, s := range zones {
		rate := p.Rate
		if all := s.ready + s.down; s.ready > 0 && s.down > manyNodes && float64(s.down)/float64(all) >= p.UnhealthyZone {
			if rate = 0; all > p.LargeZone {
				rate = p.SecondaryRate
			}
		}
		p.rates[z] = rate
	}
	return nil
}

// tainted tells whether the node has a taint of ours that evicts.
func tainted(n *corev1.Node) bool {
	for _, t := range n.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute && ours(t) {
			return true
		}
	}
	return false
}
