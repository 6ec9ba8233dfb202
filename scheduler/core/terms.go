package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// selection is some pods: those of namespaces by name or by labels, with some
// labels of their own. With an owner it is that controller's pods.
type selection struct {
	selector   labels.Selector
	namespaces []string
	// inNamespaces selects further namespaces by their labels; nil for none.
	inNamespaces labels.Selector
	owner        types.UID
	key          string
}

// matches tells whether the selection has the pods of a group.
func (t *selection) matches(s *State, g *group) bool {
	if t.owner != "" {
		return t.owner == g.owner
	}
	if !slices.Contains(t.namespaces, g.namespace) && (t.inNamespaces == nil || !t.inNamespaces.Matches(labels.Set(s.namespaces[g.namespace]))) {
		return false
	}
	return t.selector.Matches(g.labels)
}

// term is pods that are in all of some selections, counted by a label of their
// nodes.
type term struct {
	topology string
	pods     []selection
	key      string
}

func newTerm(topology string, pods ...selection) term {
	t := term{topology: topology, pods: pods}
	keys := make([]string, len(pods))
	for i := range pods {
		keys[i] = pods[i].key
	}
	slices.Sort(keys)
	t.key = fmt.Sprintf("%q%q", topology, keys)
	return t
}

func (t *term) matches(s *State, g *group) bool {
	for i := range t.pods {
		if !t.pods[i].matches(s, g) {
			return false
		}
	}
	return true
}

// weightedTerm attracts its pod by so much, or repels it.
type weightedTerm struct {
	term
	weight int64
}

// carriedTerm is a term as it counts for others once its pod is on a node: it
// keeps them away (weight 0), or attracts or repels them.
type carriedTerm struct {
	term
	weight int64
	key    string
}

// requiredWeight is how much a pod that must be near others attracts them.
const requiredWeight = 1

func (p *Pod) parsePodAffinity(a *corev1.Affinity) error {
	if a.PodAffinity != nil {
		required := a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		single, err := p.terms(required)
		if err != nil {
			return err
		}
		var all []selection
		for _, t := range single {
			all = append(all, t.pods...)
			p.carry(t, requiredWeight)
		}
		for _, t := range single { // a pod is company only if it suits every term
			p.affinity = append(p.affinity, newTerm(t.topology, all...))
		}
		if err := p.addSoft(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, 1); err != nil {
			return err
		}
	}
	if a.PodAntiAffinity != nil {
		var err error
		if p.antiAffinity, err = p.terms(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return err
		}
		for _, t := range p.antiAffinity {
			p.carry(t, 0)
		}
		return p.addSoft(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, -1)
	}
	return nil
}

func (p *Pod) addSoft(terms []corev1.WeightedPodAffinityTerm, sign int64) error {
	for _, w := range terms {
		t, err := p.term(w.PodAffinityTerm)
		if err != nil {
			return err
		}
		weight := sign * int64(w.Weight)
		p.softAffinity = append(p.softAffinity, weightedTerm{t, weight})
		p.carry(t, weight)
	}
	return nil
}

func (p *Pod) carry(t term, weight int64) {
	p.carries = append(p.carries, carriedTerm{t, weight, fmt.Sprint(weight, t.key)})
}

func (p *Pod) terms(in []corev1.PodAffinityTerm) ([]term, error) {
	out := make([]term, 0, len(in))
	for _, t := range in {
		parsed, err := p.term(t)
		if err != nil {
			return nil, err
		}
		out = append(out, parsed)
	}
	return out, nil
}

func (p *Pod) term(t corev1.PodAffinityTerm) (term, error) {
	selector, err := withLabelKeys(t.LabelSelector, p.Object.Labels, t.MatchLabelKeys, t.MismatchLabelKeys)
	if err != nil {
		return term{}, fmt.Errorf("pod affinity term: %w", err)
	}
	pods := selection{selector: selector, namespaces: t.Namespaces}
	if t.NamespaceSelector != nil {
		if pods.inNamespaces, err = metav1.LabelSelectorAsSelector(t.NamespaceSelector); err != nil {
			return term{}, fmt.Errorf("namespace selector: %w", err)
		}
	}
	if len(t.Namespaces) == 0 && t.NamespaceSelector == nil {
		pods.namespaces = []string{p.Object.Namespace}
	}
	pods.key = fmt.Sprintf("%s\x00%s\x00%v", selector, strings.Join(pods.namespaces, ","), pods.inNamespaces)
	return newTerm(t.TopologyKey, pods), nil
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
