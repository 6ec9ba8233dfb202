package core

import (
	"fmt"
	"slices"
	"strings"
)

// Decision is where a pod goes, or why it cannot go anywhere.
type Decision struct {
	// Node is empty when no node fits.
	Node string
	// Score of the chosen node.
	Score int64
	// Reasons counts the nodes by why they were refused; nodes may have several.
	Reasons map[string]int
	// Nodes is how many there are.
	Nodes int
	// Helps are the changes after which another try makes sense.
	Helps Change
}

// Message says in one sentence why no node fits.
func (d Decision) Message() string {
	if d.Nodes == 0 {
		return "no nodes available to schedule pods"
	}
	parts := make([]string, 0, len(d.Reasons))
	for reason, n := range d.Reasons {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", d.Nodes, strings.Join(parts, ", "))
}

// Decide chooses a node for the pod: one of those with the best score. The
// State stays as it is; whoever acts on the decision calls Place.
func (s *State) Decide(p *Pod) Decision {
	if p.global() || s.refusedByOthers(p) {
		return s.decideAmong(p)
	}
	r := s.rankingFor(p)
	if len(r.heap) > 0 {
		best := r.heap[0]
		return Decision{Node: s.nodes[best.place].Name, Score: best.score, Nodes: s.count}
	}
	d := Decision{Nodes: s.count, Reasons: map[string]int{}, Helps: NodeChanged}
	for _, set := range r.sets {
		if set.nodes == 0 {
			continue
		}
		d.Helps |= set.helps
		for _, reason := range set.reasons {
			d.Reasons[reason] += set.nodes
		}
	}
	return d
}
