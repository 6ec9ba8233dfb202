package core

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// spreadConstraint is a parsed topology spread constraint.
type spreadConstraint struct {
	topology     string
	selector     labels.Selector
	maxSkew      int
	minDomains   int
	hard         bool
	honorTaints  bool
	ignoreSelect bool
	self         int // 1 when the pod counts itself
}

func spreadConstraints(o *corev1.Pod) ([]spreadConstraint, error) {
	var out []spreadConstraint
	for _, c := range o.Spec.TopologySpreadConstraints {
		selector, err := withLabelKeys(c.LabelSelector, o.Labels, c.MatchLabelKeys, nil)
		if err != nil {
			return nil, fmt.Errorf("topology spread constraint: %w", err)
		}
		parsed := spreadConstraint{
			topology: c.TopologyKey, selector: selector, maxSkew: int(c.MaxSkew), minDomains: 1,
			hard:         c.WhenUnsatisfiable != corev1.ScheduleAnyway,
			honorTaints:  c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
			ignoreSelect: c.NodeAffinityPolicy != nil && *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyIgnore,
		}
		if c.MinDomains != nil {
			parsed.minDomains = int(*c.MinDomains)
		}
		if selector.Matches(labels.Set(o.Labels)) {
			parsed.self = 1
		}
		out = append(out, parsed)
	}
	return out, nil
}

// Weights of the scores that look at other pods.
const (
	spreadWeight   = 2
	affinityWeight = 2
)

// surroundings is what other pods say about where one pod may go.
type surroundings struct {
	state    *State
	pod      *Pod
	spread   []map[string]int // per constraint: matching pods by domain
	least    []int            // per constraint: the smallest of them
	affinity []map[string]int // per required term
	lonely   bool             // nobody matches the affinity, and the pod is its own company
	anti     []map[string]int
	others   []*antiTerm // anti-affinities of others that are about this pod
	soft     []map[string]int
}

func (s *State) surroundingsOf(p *Pod) *surroundings {
	a := &surroundings{state: s, pod: p}
	for i := range p.spread {
		a.countSpread(&p.spread[i])
	}
	found := 0
	company := true
	for i := range p.affinity {
		domains := a.count(&p.affinity[i])
		a.affinity = append(a.affinity, domains)
		found += len(domains)
		company = company && p.affinity[i].matches(s, p)
	}
	a.lonely = found == 0 && company
	for i := range p.antiAffinity {
		a.anti = append(a.anti, a.count(&p.antiAffinity[i]))
	}
	for i := range p.softAffinity {
		a.soft = append(a.soft, a.count(&p.softAffinity[i].podTerm))
	}
	for _, term := range s.anti {
		if term.matches(s, p) {
			a.others = append(a.others, term)
		}
	}
	return a
}

func (a *surroundings) count(t *podTerm) map[string]int {
	domains := map[string]int{}
	t.each(a.state, func(at placed) {
		if domain, ok := at.node.Object.Labels[t.topology]; ok {
			domains[domain]++
		}
	})
	return domains
}

// countSpread counts the pods of each domain that the constraint is about; a
// domain counts when one of its nodes could be used at all.
func (a *surroundings) countSpread(c *spreadConstraint) {
	domains := map[string]int{}
	eligible := func(n *Node) bool {
		for i := range a.pod.spread {
			if _, ok := n.Object.Labels[a.pod.spread[i].topology]; !ok && a.pod.spread[i].hard == c.hard {
				return false
			}
		}
		if !c.ignoreSelect && len(nodeAffinity(a.pod, n, nil)) > 0 {
			return false
		}
		return !c.honorTaints || len(taints(a.pod, n, nil)) == 0
	}
	for _, n := range a.state.nodes {
		if n == nil || n.Object == nil || !eligible(n) {
			continue
		}
		domains[n.Object.Labels[c.topology]] += 0
	}
	for _, at := range a.state.byNamespace[a.pod.Object.Namespace] {
		if at.node.Object == nil || at.pod.Object.DeletionTimestamp != nil || !c.selector.Matches(at.pod.labelSet()) || !eligible(at.node) {
			continue
		}
		domains[at.node.Object.Labels[c.topology]]++
	}
	least := math.MaxInt
	for _, n := range domains {
		least = min(least, n)
	}
	if len(domains) < c.minDomains {
		least = 0
	}
	a.spread, a.least = append(a.spread, domains), append(a.least, least)
}

// refuse says why the surroundings of a node do not suit the pod.
func (a *surroundings) refuse(n *Node) (string, Change) {
	for i, c := range a.pod.spread {
		if !c.hard {
			continue
		}
		domain, ok := n.Object.Labels[c.topology]
		if !ok {
			return "node(s) didn't match pod topology spread constraints (missing required label)", NodeChanged
		}
		if a.spread[i][domain]+c.self-a.least[i] > c.maxSkew {
			return "node(s) didn't match pod topology spread constraints", NodeChanged | PodGone | PodPlaced
		}
	}
	for i, t := range a.pod.affinity {
		domain, ok := n.Object.Labels[t.topology]
		if !ok || a.affinity[i][domain] == 0 && !a.lonely {
			return "node(s) didn't match pod affinity rules", NodeChanged | PodPlaced
		}
	}
	for i, t := range a.pod.antiAffinity {
		if domain, ok := n.Object.Labels[t.topology]; ok && a.anti[i][domain] > 0 {
			return "node(s) didn't match pod anti-affinity rules", NodeChanged | PodGone
		}
	}
	for _, t := range a.others {
		if domain, ok := n.Object.Labels[t.topology]; ok && t.domains[domain] > 0 {
			return "node(s) didn't satisfy existing pods anti-affinity rules", NodeChanged | PodGone
		}
	}
	return "", 0
}

// crowd is how many pods the soft constraints would rather not have here.
func (a *surroundings) crowd(n *Node) int64 {
	var sum int64
	for i, c := range a.pod.spread {
		if !c.hard {
			sum += int64(a.spread[i][n.Object.Labels[c.topology]])
		}
	}
	return sum
}

// attraction is the weight of the pods that the pod would like near, less
// those it would not.
func (a *surroundings) attraction(n *Node) int64 {
	var sum int64
	for i, t := range a.pod.softAffinity {
		if domain, ok := n.Object.Labels[t.topology]; ok {
			sum += t.weight * int64(a.soft[i][domain])
		}
	}
	return sum
}

// candidate is a node that passes, with the scores that need normalising.
type candidate struct {
	place             int32
	score             int64
	crowd, attraction int64
}

// decideAmong weighs every node with its surroundings.
func (s *State) decideAmong(p *Pod) Decision {
	a := s.surroundingsOf(p)
	d := Decision{Nodes: s.count, Reasons: map[string]int{}, Helps: NodeChanged}
	var passed []candidate
	var buffer []string
	for place, n := range s.nodes {
		if n == nil || n.Object == nil {
			continue
		}
		reasons, helps := refuse(p, n, buffer[:0])
		if len(reasons) == 0 {
			var reason string
			if reason, helps = a.refuse(n); reason != "" {
				reasons = append(reasons, reason)
			}
		}
		if len(reasons) == 0 && len(s.guests[n.Name]) > 0 {
			reasons, helps = s.besideGuests(p, place)
		}
		buffer = reasons
		d.refuse(reasons, helps, 1)
		if len(reasons) == 0 {
			passed = append(passed, candidate{int32(place), rate(p, n), a.crowd(n), a.attraction(n)})
		}
	}
	if len(passed) == 0 {
		return d
	}
	best := s.best(p, passed)
	return Decision{Node: s.nodes[best.place].Name, Score: best.score, Nodes: s.count}
}

// best adds the normalised scores and picks the first of the best.
func (s *State) best(p *Pod, passed []candidate) ranked {
	crowdMax, low, high := int64(0), passed[0].attraction, passed[0].attraction
	for _, c := range passed {
		crowdMax = max(crowdMax, c.crowd)
		low, high = min(low, c.attraction), max(high, c.attraction)
	}
	var best ranked
	for i, c := range passed {
		score := c.score
		if crowdMax > 0 {
			score += spreadWeight * ((crowdMax - c.crowd) * 100 / crowdMax)
		}
		if high > low {
			score += affinityWeight * ((c.attraction - low) * 100 / (high - low))
		}
		r := ranked{score, mix(s.seed, p.hash, s.nodes[c.place].hash), c.place}
		if i == 0 || better(r, best) {
			best = r
		}
	}
	return best
}
