package core

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// spreadConstraint is a parsed topology spread constraint.
type spreadConstraint struct {
	term
	maxSkew    int
	minDomains int
	hard       bool
	// lenient says that nodes without the label are weighed all the same.
	lenient bool
	self    int // 1 when the pod counts itself
	// counts tells which nodes' pods and domains count, and countsKey names it.
	counts    func(*Node) bool
	countsKey string
}

func (p *Pod) spreadConstraints() error {
	o := p.Object
	for _, c := range o.Spec.TopologySpreadConstraints {
		selector, err := withLabelKeys(c.LabelSelector, o.Labels, c.MatchLabelKeys, nil)
		if err != nil {
			return fmt.Errorf("topology spread constraint: %w", err)
		}
		pods := selection{selector: selector, namespaces: []string{o.Namespace}, key: fmt.Sprintf("%s\x00%s", selector, o.Namespace)}
		parsed := spreadConstraint{
			term: newTerm(c.TopologyKey, pods), maxSkew: int(c.MaxSkew), minDomains: 1, hard: c.WhenUnsatisfiable != corev1.ScheduleAnyway,
		}
		if c.MinDomains != nil {
			parsed.minDomains = int(*c.MinDomains)
		}
		if selector.Matches(labels.Set(o.Labels)) {
			parsed.self = 1
		}
		if err := parsed.countOn(p, c); err != nil {
			return err
		}
		p.spread = append(p.spread, parsed)
	}
	if len(p.spread) == 0 && p.Owner != "" {
		p.spread = append(p.spread, byDefault(p.Owner, corev1.LabelHostname, 3), byDefault(p.Owner, corev1.LabelTopologyZone, 5))
	}
	return nil
}

// byDefault spreads the pods of one controller when they do not say how.
func byDefault(owner types.UID, topology string, maxSkew int) spreadConstraint {
	return spreadConstraint{
		term: newTerm(topology, selection{owner: owner, key: string(owner)}), maxSkew: maxSkew, minDomains: 1, self: 1, lenient: true,
		counts: func(*Node) bool { return true },
	}
}

// countOn limits a constraint to the nodes that have all labels of the pod's
// constraints of its sort and, as its policies say, could be used at all.
func (c *spreadConstraint) countOn(p *Pod, from corev1.TopologySpreadConstraint) error {
	var keys []string
	for _, other := range p.Object.Spec.TopologySpreadConstraints {
		if (other.WhenUnsatisfiable != corev1.ScheduleAnyway) == c.hard {
			keys = append(keys, other.TopologyKey)
		}
	}
	asked := p.selective && (from.NodeAffinityPolicy == nil || *from.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor)
	tolerated := from.NodeTaintsPolicy != nil && *from.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
	c.counts = func(n *Node) bool {
		for _, key := range keys {
			if _, ok := n.Object.Labels[key]; !ok {
				return false
			}
		}
		return !(asked && len(nodeAffinity(p, n, nil)) > 0) && !(tolerated && len(taints(p, n, nil)) > 0)
	}
	written := struct {
		Keys        []string
		Selector    map[string]string    `json:",omitempty"`
		Affinity    *corev1.NodeSelector `json:",omitempty"`
		Taints      bool                 `json:",omitempty"`
		Tolerations []corev1.Toleration  `json:",omitempty"`
	}{Keys: keys, Taints: tolerated}
	if asked {
		written.Selector = p.Object.Spec.NodeSelector
		if a := p.Object.Spec.Affinity; a != nil && a.NodeAffinity != nil {
			written.Affinity = a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		}
	}
	if tolerated {
		written.Tolerations = p.Object.Spec.Tolerations
	}
	key, err := json.Marshal(written)
	if err != nil {
		return fmt.Errorf("topology spread constraint: %w", err)
	}
	c.countsKey = "spread" + string(key)
	return nil
}
