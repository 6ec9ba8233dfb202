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
	// Score of the chosen node; 0 when it was promised.
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

// Decide chooses a node for the pod: the one that it has been promised if it
// fits there, else one of those with the best score. The State stays as it is;
// whoever acts on the decision calls Place.
func (s *State) Decide(p *Pod) Decision {
	if _, node, ok := s.Nominated(p.UID); ok {
		if place, ok := s.places[node]; ok && s.nodes[place].Object != nil {
			if refused, _ := s.fits(p, place); len(refused) == 0 {
				return Decision{Node: node, Nodes: s.count}
			}
		}
	}
	if p.global() || s.refusedByOthers(p) {
		return s.decideAmong(p)
	}
	r := s.rankingFor(p)
	d := Decision{Nodes: s.count, Reasons: map[string]int{}, Helps: NodeChanged}
	r.walk(func(next ranked) bool {
		n := s.nodes[next.place]
		if len(s.guests[n.Name]) > 0 {
			if reasons, helps := s.besideGuests(p, int(next.place)); len(reasons) > 0 {
				d.refuse(reasons, helps, 1)
				return true
			}
		}
		d.Node, d.Score = n.Name, next.score
		return false
	})
	if d.Node != "" {
		return Decision{Node: d.Node, Score: d.Score, Nodes: d.Nodes}
	}
	for _, set := range r.sets {
		d.refuse(set.reasons, set.helps, set.nodes)
	}
	return d
}

func (d *Decision) refuse(reasons []string, helps Change, nodes int) {
	if nodes == 0 {
		return
	}
	d.Helps |= helps
	for _, reason := range reasons {
		d.Reasons[reason] += nodes
	}
}
