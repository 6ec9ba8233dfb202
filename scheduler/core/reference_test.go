package core_test

import (
	"fmt"
	"maps"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// reference decides slowly and plainly, from API objects alone: for every node
// it asks every rule anew, with all pods in hand.
type reference struct {
	nodes map[string]*corev1.Node
	pods  map[string]*corev1.Pod // by name, with spec.nodeName
	// namespaces have one label, "team".
	namespaces map[string]string
}

// best gives the nodes with the best score, or why there is none.
func (r *reference) best(p *corev1.Pod) (nodes []string, score int64, reasons map[string]int) {
	reasons = map[string]int{}
	scores, like := map[string]int64{}, map[string]int64{}
	crowd := map[string]int64{} // without the nodes that lack a label
	for name, n := range r.nodes {
		why := r.refuse(p, n)
		for _, reason := range why {
			reasons[reason]++
		}
		if len(why) > 0 {
			continue
		}
		scores[name], like[name] = r.score(p, n), r.like(p, n)
		if sum, ok := r.crowd(p, n); ok {
			crowd[name] = sum
		}
	}
	crowds, likes := slices.Sorted(maps.Values(crowd)), slices.Sorted(maps.Values(like))
	for name := range scores {
		if sum, ok := crowd[name]; ok && len(r.soft(p)) > 0 {
			if most := crowds[len(crowds)-1]; most == 0 {
				scores[name] += 2 * 100
			} else {
				scores[name] += 2 * ((most + crowds[0] - sum) * 100 / most)
			}
		}
		if low, high := likes[0], likes[len(likes)-1]; high > low {
			scores[name] += 2 * ((like[name] - low) * 100 / (high - low))
		}
		score = max(score, scores[name])
	}
	for name, s := range scores {
		if s == score {
			nodes = append(nodes, name)
		}
	}
	return nodes, score, reasons
}

func (r *reference) on(node string) (pods []*corev1.Pod) {
	for _, p := range r.pods {
		if p.Spec.NodeName == node {
			pods = append(pods, p)
		}
	}
	return pods
}

func (r *reference) used(node string) (cpu, memory int64) {
	for _, p := range r.on(node) {
		cpu += p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
		memory += p.Spec.Containers[0].Resources.Requests.Memory().Value()
	}
	return cpu, memory
}

func (r *reference) refuse(p *corev1.Pod, n *corev1.Node) []string {
	if n.Spec.Unschedulable {
		return []string{"node(s) were unschedulable"}
	}
	for _, t := range n.Spec.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated(p, t) {
			return []string{"node(s) had untolerated taint(s)"}
		}
	}
	for k, v := range p.Spec.NodeSelector {
		if n.Labels[k] != v {
			return []string{"node(s) didn't match Pod's node affinity/selector"}
		}
	}
	for _, other := range r.on(n.Name) {
		for _, a := range other.Spec.Containers[0].Ports {
			for _, b := range p.Spec.Containers[0].Ports {
				if a.HostPort == b.HostPort {
					return []string{"node(s) didn't have free ports for the requested pod ports"}
				}
			}
		}
	}
	var why []string
	if int64(len(r.on(n.Name))) >= n.Status.Allocatable.Pods().Value() {
		why = append(why, "Too many pods")
	}
	cpu, memory := r.used(n.Name)
	request := p.Spec.Containers[0].Resources.Requests
	if asked := request.Cpu().MilliValue(); asked > 0 && cpu+asked > n.Status.Allocatable.Cpu().MilliValue() {
		why = append(why, "Insufficient cpu")
	}
	if asked := request.Memory().Value(); asked > 0 && memory+asked > n.Status.Allocatable.Memory().Value() {
		why = append(why, "Insufficient memory")
	}
	if len(why) > 0 {
		return why
	}
	if reason := r.refusedByPods(p, n); reason != "" {
		return []string{reason}
	}
	return nil
}

func (r *reference) refusedByPods(p *corev1.Pod, n *corev1.Node) string {
	for _, c := range p.Spec.TopologySpreadConstraints {
		if c.WhenUnsatisfiable != corev1.DoNotSchedule {
			continue
		}
		if _, ok := n.Labels[c.TopologyKey]; !ok {
			return "node(s) didn't match pod topology spread constraints (missing required label)"
		}
		counts := r.spread(p, c)
		least := 1 << 30
		for _, count := range counts {
			least = min(least, count)
		}
		if len(counts) < int(ptr.Deref(c.MinDomains, 1)) {
			least = 0
		}
		self := 0
		if selects(c.LabelSelector, p) {
			self = 1
		}
		if counts[n.Labels[c.TopologyKey]]+self-least > int(c.MaxSkew) {
			return "node(s) didn't match pod topology spread constraints"
		}
	}
	near, apart := required(p)
	for _, t := range near {
		here := false
		for _, other := range r.pods {
			company := true
			for _, each := range near {
				company = company && r.about(p, each, other)
			}
			here = here || company && r.together(other, n, t.TopologyKey)
		}
		_, labelled := n.Labels[t.TopologyKey]
		own := true
		for _, each := range near {
			own = own && r.about(p, each, p)
		}
		if !labelled || !here && (r.company(p, near) || !own) {
			return "node(s) didn't match pod affinity rules"
		}
	}
	for _, t := range apart {
		for _, other := range r.pods {
			if r.about(p, t, other) && r.together(other, n, t.TopologyKey) {
				return "node(s) didn't match pod anti-affinity rules"
			}
		}
	}
	for _, other := range r.pods {
		_, theirs := required(other)
		for _, t := range theirs {
			if r.about(other, t, p) && r.together(other, n, t.TopologyKey) {
				return "node(s) didn't satisfy existing pods anti-affinity rules"
			}
		}
	}
	return ""
}

func (r *reference) label(p *corev1.Pod, key string) (string, bool) {
	n := r.nodes[p.Spec.NodeName]
	if n == nil {
		return "", false
	}
	value, ok := n.Labels[key]
	return value, ok
}

// together tells whether a pod's node is in the node's domain.
func (r *reference) together(p *corev1.Pod, n *corev1.Node, topology string) bool {
	theirs, ok := r.label(p, topology)
	ours, here := n.Labels[topology]
	return ok && here && theirs == ours
}

// about tells whether a term of one pod is about another.
func (r *reference) about(p *corev1.Pod, t corev1.PodAffinityTerm, other *corev1.Pod) bool {
	named := slices.Contains(t.Namespaces, other.Namespace) || len(t.Namespaces) == 0 && t.NamespaceSelector == nil && p.Namespace == other.Namespace
	if t.NamespaceSelector != nil {
		named = named || t.NamespaceSelector.MatchLabels["team"] == r.namespaces[other.Namespace]
	}
	return named && selects(t.LabelSelector, other)
}

func required(p *corev1.Pod) (near, apart []corev1.PodAffinityTerm) {
	if a := p.Spec.Affinity; a != nil && a.PodAffinity != nil {
		near = a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	if a := p.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		apart = a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	return near, apart
}

// wishes are the preferred terms, those against negative.
func wishes(p *corev1.Pod) (all []corev1.WeightedPodAffinityTerm) {
	if a := p.Spec.Affinity; a != nil && a.PodAffinity != nil {
		all = append(all, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	if a := p.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		for _, w := range a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			w.Weight = -w.Weight
			all = append(all, w)
		}
	}
	return all
}

// company tells whether any pod that suits every term is anywhere that counts.
func (r *reference) company(p *corev1.Pod, near []corev1.PodAffinityTerm) bool {
	for _, other := range r.pods {
		suits, counts := true, false
		for _, t := range near {
			_, labelled := r.label(other, t.TopologyKey)
			suits, counts = suits && r.about(p, t, other), counts || labelled
		}
		if suits && counts {
			return true
		}
	}
	return false
}

// spread counts the matching pods of every domain that the pod could use.
func (r *reference) spread(p *corev1.Pod, c corev1.TopologySpreadConstraint) map[string]int {
	counts := map[string]int{}
	for _, n := range r.nodes {
		usable := true
		for k, v := range p.Spec.NodeSelector {
			usable = usable && (n.Labels[k] == v || ptr.Deref(c.NodeAffinityPolicy, "") == corev1.NodeInclusionPolicyIgnore)
		}
		for _, t := range n.Spec.Taints {
			usable = usable && (tolerated(p, t) || t.Effect == corev1.TaintEffectPreferNoSchedule || ptr.Deref(c.NodeTaintsPolicy, "") != corev1.NodeInclusionPolicyHonor)
		}
		domain, ok := n.Labels[c.TopologyKey]
		for _, other := range p.Spec.TopologySpreadConstraints {
			if _, labelled := n.Labels[other.TopologyKey]; other.WhenUnsatisfiable == c.WhenUnsatisfiable {
				ok = ok && labelled
			}
		}
		if !ok || !usable {
			continue
		}
		counts[domain] += 0
		for _, other := range r.on(n.Name) {
			if c.LabelSelector == nil && metav1.GetControllerOf(other) != nil && metav1.GetControllerOf(other).UID == metav1.GetControllerOf(p).UID ||
				c.LabelSelector != nil && other.Namespace == p.Namespace && selects(c.LabelSelector, other) {
				if other.DeletionTimestamp == nil {
					counts[domain]++
				}
			}
		}
	}
	return counts
}

// soft are the constraints that are only wishes: the pod's own, or those by
// which a controller's pods are spread by default (here without a selector).
func (r *reference) soft(p *corev1.Pod) (all []corev1.TopologySpreadConstraint) {
	for _, c := range p.Spec.TopologySpreadConstraints {
		if c.WhenUnsatisfiable == corev1.ScheduleAnyway {
			all = append(all, c)
		}
	}
	if len(p.Spec.TopologySpreadConstraints) == 0 && metav1.GetControllerOf(p) != nil {
		all = append(all, corev1.TopologySpreadConstraint{TopologyKey: corev1.LabelHostname, MaxSkew: 3, NodeAffinityPolicy: ptr.To(corev1.NodeInclusionPolicyIgnore)},
			corev1.TopologySpreadConstraint{TopologyKey: corev1.LabelTopologyZone, MaxSkew: 5, NodeAffinityPolicy: ptr.To(corev1.NodeInclusionPolicyIgnore)})
	}
	return all
}

func (r *reference) crowd(p *corev1.Pod, n *corev1.Node) (int64, bool) {
	var sum float64
	for _, c := range r.soft(p) {
		domain, ok := n.Labels[c.TopologyKey]
		if !ok && c.LabelSelector != nil {
			return 0, false
		}
		if counts := r.spread(p, c); ok {
			sum += float64(counts[domain])*math.Log(float64(len(counts)+2)) + float64(c.MaxSkew-1)
		}
	}
	return int64(math.Round(sum)), true
}

// like is what the pod wishes of others there, and what these wish of it.
func (r *reference) like(p *corev1.Pod, n *corev1.Node) int64 {
	var sum int64
	for _, other := range r.pods {
		for _, w := range wishes(p) {
			if r.about(p, w.PodAffinityTerm, other) && r.together(other, n, w.PodAffinityTerm.TopologyKey) {
				sum += int64(w.Weight)
			}
		}
		for _, w := range wishes(other) {
			if r.about(other, w.PodAffinityTerm, p) && r.together(other, n, w.PodAffinityTerm.TopologyKey) {
				sum += int64(w.Weight)
			}
		}
		near, _ := required(other)
		for _, t := range near {
			if r.about(other, t, p) && r.together(other, n, t.TopologyKey) {
				sum++
			}
		}
	}
	return sum
}

func (r *reference) score(p *corev1.Pod, n *corev1.Node) int64 {
	var softTaints, granted, wished int64
	for _, t := range n.Spec.Taints {
		if t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerated(p, t) {
			softTaints++
		}
	}
	if p.Spec.Affinity != nil && p.Spec.Affinity.NodeAffinity != nil {
		for _, w := range p.Spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			wished += int64(w.Weight)
			if e := w.Preference.MatchExpressions[0]; n.Labels[e.Key] == e.Values[0] {
				granted += int64(w.Weight)
			}
		}
	}
	assume := func(p *corev1.Pod) (int64, int64) {
		cpu, memory := p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue(), p.Spec.Containers[0].Resources.Requests.Memory().Value()
		if cpu == 0 {
			cpu = 100
		}
		if memory == 0 {
			memory = 200 << 20
		}
		return cpu, memory
	}
	cpu, memory := assume(p)
	for _, other := range r.on(n.Name) {
		c, m := assume(other)
		cpu, memory = cpu+c, memory+m
	}
	score := 3 * (100 / (1 + softTaints))
	if wished > 0 {
		score += 2 * (granted * 100 / wished)
	}
	allCPU, allMemory := n.Status.Allocatable.Cpu().MilliValue(), n.Status.Allocatable.Memory().Value()
	free := func(used, all int64) int64 {
		if all == 0 || used > all {
			return 0
		}
		return (all - used) * 100 / all
	}
	score += (free(cpu, allCPU) + free(memory, allMemory)) / 2
	usedCPU, usedMemory := r.used(n.Name)
	request := p.Spec.Containers[0].Resources.Requests
	share := func(used, all int64) int64 { return min(used*1000/all, 1000) }
	difference := share(usedCPU+request.Cpu().MilliValue(), allCPU) - share(usedMemory+request.Memory().Value(), allMemory)
	return score + 100 - max(difference, -difference)/20
}

func tolerated(p *corev1.Pod, t corev1.Taint) bool {
	for _, x := range p.Spec.Tolerations {
		if x.Key == t.Key && (x.Effect == "" || x.Effect == t.Effect) {
			return true
		}
	}
	return false
}

func selects(s *metav1.LabelSelector, p *corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		panic(fmt.Sprintf("selector: %v", err))
	}
	return selector.Matches(labels.Set(p.Labels))
}
