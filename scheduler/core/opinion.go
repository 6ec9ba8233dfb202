package core

import corev1 "k8s.io/api/core/v1"

// AnyChange is every kind of change: nobody knows what would help.
const AnyChange = ^Change(0)

// Opinion is what somebody outside, such as an extender, thinks of the nodes
// that Candidates has given. Nodes that it does not know are left out.
type Opinion struct {
	// Scores are of the nodes that will do; they are added to the others.
	Scores map[string]int64
	// Refused says of other nodes why they will not.
	Refused map[string]string
}

func (o *Opinion) allows(node string) bool {
	if o == nil {
		return true
	}
	_, ok := o.Scores[node]
	return ok
}

// Candidates are all nodes that fit the pod, the best first. It costs O(nodes),
// where Decide looks only at the best.
func (s *State) Candidates(p *Pod) []*corev1.Node {
	v := s.volumesOf(p)
	if v != nil && v.reason != "" {
		return nil
	}
	r := s.rankingFor(p, v)
	var all []*corev1.Node
	j, refused := s.judgeOf(p, &r.around), Decision{Reasons: map[string]int{}}
	s.visit(p, r, &j, &refused, func(c candidate) bool {
		all = append(all, s.nodes[c.place].Object)
		return true
	})
	return all
}
