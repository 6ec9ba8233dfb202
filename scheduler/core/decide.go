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
	// Reason is why none of them would do, whatever they are; then Reasons are
	// empty.
	Reason string
	// Claims are what the pod's waiting claims get on Node.
	Claims []ClaimBinding
	// Helps are the changes after which another try makes sense.
	Helps Change
}

// Message says in one sentence why no node fits.
func (d Decision) Message() string {
	if d.Nodes == 0 {
		return "no nodes available to schedule pods"
	}
	if d.Reason != "" {
		return fmt.Sprintf("0/%d nodes are available: %s.", d.Nodes, d.Reason)
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
func (s *State) Decide(p *Pod) Decision { return s.DecideWith(p, nil) }

// DecideWith is Decide with an opinion of the nodes from outside; nil: there is
// none.
func (s *State) DecideWith(p *Pod, opinion *Opinion) Decision {
	v := s.volumesOf(p)
	if v != nil && v.reason != "" {
		return Decision{Nodes: s.count, Reason: v.reason, Helps: StorageChanged}
	}
	d := s.choose(p, v, opinion)
	if d.Node == "" || v == nil {
		return d
	}
	claims, ok := s.bindings(v, s.nodes[s.places[d.Node]])
	if !ok { // the ranking was made for claims that are alike, but are looked at in another order
		return Decision{Nodes: s.count, Reasons: map[string]int{noVolumes: 1}, Helps: NodeAdded | NodeLabelled | StorageChanged}
	}
	d.Claims = claims
	return d
}

// choose takes the promised node, or the best of the best of each bucket that
// passes.
func (s *State) choose(p *Pod, v *volumes, opinion *Opinion) Decision {
	if _, node, ok := s.Nominated(p.UID); ok && opinion.allows(node) {
		if place, ok := s.places[node]; ok && s.nodes[place].Object != nil {
			if refused, _ := s.fits(p, place); len(refused) == 0 {
				return Decision{Node: node, Nodes: s.count}
			}
		}
	}
	r := s.rankingFor(p, v)
	j := s.judgeOf(p, &r.around)
	chosen := Decision{Nodes: s.count}
	refused := Decision{Nodes: s.count, Reasons: map[string]int{}, Helps: NodeAdded}
	s.visit(p, r, &j, &refused, func(c candidate) bool {
		name := s.nodes[c.place].Name
		if opinion == nil {
			chosen.Node, chosen.Score = name, c.score
			return false
		}
		if why := opinion.Refused[name]; why != "" {
			refused.refuse([]string{why}, AnyChange, 1)
		} else if score, ok := opinion.Scores[name]; ok && (chosen.Node == "" || c.score+score > chosen.Score) {
			chosen.Node, chosen.Score = name, c.score+score
		}
		return true
	})
	if chosen.Node != "" {
		return chosen
	}
	for _, b := range r.buckets {
		place := int(b.heap[0].place)
		if reason, helps := j.refuse(s.nodes[place], place); reason != "" {
			refused.refuse([]string{reason}, helps, len(b.heap))
		}
	}
	for _, set := range r.sets {
		refused.refuse(set.reasons, set.helps, set.nodes)
	}
	return refused
}

// visit shows f the nodes that pass, the best first, until it has enough. Those
// that have no room beside the pods that they are promised to are refused.
func (s *State) visit(p *Pod, r *ranking, j *judge, refused *Decision, f func(candidate) (more bool)) {
	all := r.verdicts[:0]
	for _, b := range r.buckets {
		place := int(b.heap[0].place)
		n := s.nodes[place]
		if reason, _ := j.refuse(n, place); reason != "" {
			continue
		}
		crowd, ok := j.crowd(n, place)
		all = append(all, verdict{bucket: b, crowd: crowd, ignored: !ok, attraction: j.attraction(place)})
	}
	r.verdicts = all
	j.weigh(all)
	walk(all, func(c candidate) bool {
		if len(s.guests[s.nodes[c.place].Name]) > 0 {
			if reasons, helps := s.besideGuests(p, int(c.place)); len(reasons) > 0 {
				refused.refuse(reasons, helps, 1)
				return true
			}
		}
		return f(c)
	})
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
