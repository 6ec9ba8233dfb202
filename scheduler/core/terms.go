package core

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// podTerm is a parsed PodAffinityTerm: pods of some namespaces, by labels,
// counted by a label of their nodes.
type podTerm struct {
	topology   string
	selector   labels.Selector
	namespaces []string
	// inNamespaces selects further namespaces by their labels; nil for none.
	inNamespaces labels.Selector
	key          string
}

type weightedTerm struct {
	podTerm
	weight int64 // negative for anti-affinity
}

// antiTerm is a required anti-affinity of pods that are on nodes, and in how
// many pods of each domain it is found.
type antiTerm struct {
	podTerm
	domains map[string]int
}

func (p *Pod) parsePodAffinity(a *corev1.Affinity) error {
	var err error
	if a.PodAffinity != nil {
		if p.affinity, err = p.terms(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return err
		}
		if err = p.addSoft(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, 1); err != nil {
			return err
		}
	}
	if a.PodAntiAffinity != nil {
		if p.antiAffinity, err = p.terms(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return err
		}
		if err = p.addSoft(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, -1); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pod) addSoft(terms []corev1.WeightedPodAffinityTerm, sign int64) error {
	for _, w := range terms {
		term, err := p.term(w.PodAffinityTerm)
		if err != nil {
			return err
		}
		p.softAffinity = append(p.softAffinity, weightedTerm{term, sign * int64(w.Weight)})
	}
	return nil
}

func (p *Pod) terms(in []corev1.PodAffinityTerm) ([]podTerm, error) {
	var out []podTerm
	for _, t := range in {
		term, err := p.term(t)
		if err != nil {
			return nil, err
		}
		out = append(out, term)
	}
	return out, nil
}

func (p *Pod) term(t corev1.PodAffinityTerm) (podTerm, error) {
	selector, err := withLabelKeys(t.LabelSelector, p.Object.Labels, t.MatchLabelKeys, t.MismatchLabelKeys)
	if err != nil {
		return podTerm{}, fmt.Errorf("pod affinity term: %w", err)
	}
	term := podTerm{topology: t.TopologyKey, selector: selector, namespaces: t.Namespaces}
	if t.NamespaceSelector != nil {
		if term.inNamespaces, err = metav1.LabelSelectorAsSelector(t.NamespaceSelector); err != nil {
			return podTerm{}, fmt.Errorf("namespace selector: %w", err)
		}
	}
	if len(t.Namespaces) == 0 && t.NamespaceSelector == nil {
		term.namespaces = []string{p.Object.Namespace}
	}
	term.key = fmt.Sprintf("%s\x00%s\x00%v\x00%v", term.topology, selector, term.namespaces, term.inNamespaces)
	return term, nil
}

// withLabelKeys is the selector, narrowed to pods with the same (or other)
// values of some of the pod's own labels.
func withLabelKeys(s *metav1.LabelSelector, own map[string]string, same, other []string) (labels.Selector, error) {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, err
	}
	narrow := func(keys []string, operator metav1.LabelSelectorOperator) error {
		for _, key := range keys {
			value, ok := own[key]
			if !ok {
				continue
			}
			extra, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: []string{value}}}})
			if err != nil {
				return err
			}
			requirements, _ := extra.Requirements()
			selector = selector.Add(requirements...)
		}
		return nil
	}
	if err := narrow(same, metav1.LabelSelectorOpIn); err != nil {
		return nil, err
	}
	return selector, narrow(other, metav1.LabelSelectorOpNotIn)
}

// matches tells whether the term is about the pod.
func (t *podTerm) matches(s *State, p *Pod) bool {
	ns := p.Object.Namespace
	if !slices.Contains(t.namespaces, ns) && (t.inNamespaces == nil || !t.inNamespaces.Matches(labels.Set(s.namespaces[ns]))) {
		return false
	}
	return t.selector.Matches(p.labelSet())
}

// each calls f for every pod on a node that the term is about.
func (t *podTerm) each(s *State, f func(placed)) {
	for ns, pods := range s.byNamespace {
		if !slices.Contains(t.namespaces, ns) && (t.inNamespaces == nil || !t.inNamespaces.Matches(labels.Set(s.namespaces[ns]))) {
			continue
		}
		for _, at := range pods {
			if at.node.Object != nil && t.selector.Matches(at.pod.labelSet()) {
				f(at)
			}
		}
	}
}

// countAnti keeps the table of the anti-affinities of placed pods.
func (s *State) countAnti(p *Pod, n *Node, by int) {
	if n.Object == nil {
		return
	}
	for _, term := range p.antiAffinity {
		domain, ok := n.Object.Labels[term.topology]
		if !ok {
			continue
		}
		entry := s.anti[term.key]
		if entry == nil {
			entry = &antiTerm{podTerm: term, domains: map[string]int{}}
			s.anti[term.key] = entry
		}
		if entry.domains[domain] += by; entry.domains[domain] <= 0 {
			delete(entry.domains, domain)
		}
		if len(entry.domains) == 0 {
			delete(s.anti, term.key)
		}
	}
}

// refusedByOthers tells whether some placed pod does not want this one near.
func (s *State) refusedByOthers(p *Pod) bool {
	for _, term := range s.anti {
		if term.matches(s, p) {
			return true
		}
	}
	return false
}
