package core_test

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// reference decides slowly and plainly, from API objects alone: for every node
// it asks every rule anew, with all pods in hand.
type reference struct {
	nodes map[string]*corev1.Node
	pods  map[string]*corev1.Pod // by name, with spec.nodeName
}

// best gives the nodes with the best score, or why there is none.
func (r *reference) best(p *corev1.Pod) (nodes []string, score int64, reasons map[string]int) {
	reasons = map[string]int{}
	scores := map[string]int64{}
	crowd, like := map[string]int64{}, map[string]int64{}
	for name, n := range r.nodes {
		why := r.refuse(p, n)
		for _, reason := range why {
			reasons[reason]++
		}
		if len(why) == 0 {
			scores[name], crowd[name], like[name] = r.score(p, n), r.crowd(p, n), r.like(p, n)
		}
	}
	most := int64(0)
	var likes []int64
	for name := range scores {
		most = max(most, crowd[name])
		likes = append(likes, like[name])
	}
	for name := range scores {
		if most > 0 {
			scores[name] += 2 * ((most - crowd[name]) * 100 / most)
		}
		if low, high := slices.Min(likes), slices.Max(likes); high > low {
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
		if c.WhenUnsatisfiable == corev1.ScheduleAnyway {
			continue
		}
		if _, ok := n.Labels[c.TopologyKey]; !ok {
			return "node(s) didn't match pod topology spread constraints (missing required label)"
		}
		counts := r.spread(p, c)
		self := 0
		if selects(c.LabelSelector, p) {
			self = 1
		}
		least := 1 << 30
		for _, count := range counts {
			least = min(least, count)
		}
		if counts[n.Labels[c.TopologyKey]]+self-least > int(c.MaxSkew) {
			return "node(s) didn't match pod topology spread constraints"
		}
	}
	if a := p.Spec.Affinity; a != nil && a.PodAffinity != nil {
		for _, t := range a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			alone := true
			for _, other := range r.pods {
				_, labelled := r.label(other, t.TopologyKey)
				alone = alone && !(selects(t.LabelSelector, other) && labelled)
			}
			_, labelled := n.Labels[t.TopologyKey]
			if !labelled || !r.near(t, n) && !(alone && selects(t.LabelSelector, p)) {
				return "node(s) didn't match pod affinity rules"
			}
		}
	}
	if a := p.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		for _, t := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			if r.near(t, n) {
				return "node(s) didn't match pod anti-affinity rules"
			}
		}
	}
	for _, other := range r.pods {
		if other.Spec.Affinity == nil || other.Spec.Affinity.PodAntiAffinity == nil {
			continue
		}
		for _, t := range other.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			theirs, ok := r.label(other, t.TopologyKey)
			ours, here := n.Labels[t.TopologyKey]
			if ok && here && theirs == ours && selects(t.LabelSelector, p) {
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

func (r *reference) near(t corev1.PodAffinityTerm, n *corev1.Node) bool {
	for _, other := range r.pods {
		theirs, ok := r.label(other, t.TopologyKey)
		ours, here := n.Labels[t.TopologyKey]
		if ok && here && theirs == ours && selects(t.LabelSelector, other) {
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
			usable = usable && n.Labels[k] == v
		}
		domain, ok := n.Labels[c.TopologyKey]
		if !ok || !usable {
			continue
		}
		counts[domain] += 0
		for _, other := range r.on(n.Name) {
			if selects(c.LabelSelector, other) {
				counts[domain]++
			}
		}
	}
	return counts
}

func (r *reference) crowd(p *corev1.Pod, n *corev1.Node) int64 {
	var sum int64
	for _, c := range p.Spec.TopologySpreadConstraints {
		if c.WhenUnsatisfiable == corev1.ScheduleAnyway {
			sum += int64(r.spread(p, c)[n.Labels[c.TopologyKey]])
		}
	}
	return sum
}

func (r *reference) like(p *corev1.Pod, n *corev1.Node) int64 {
	var sum int64
	if p.Spec.Affinity == nil || p.Spec.Affinity.PodAffinity == nil {
		return 0
	}
	for _, w := range p.Spec.Affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		for _, other := range r.pods {
			theirs, ok := r.label(other, w.PodAffinityTerm.TopologyKey)
			ours, here := n.Labels[w.PodAffinityTerm.TopologyKey]
			if ok && here && theirs == ours && selects(w.PodAffinityTerm.LabelSelector, other) {
				sum += int64(w.Weight)
			}
		}
	}
	return sum
}

func (r *reference) score(p *corev1.Pod, n *corev1.Node) int64 {
	var softTaints, granted, wished, siblings int64
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
	owner := metav1.GetControllerOf(p)
	for _, other := range r.on(n.Name) {
		c, m := assume(other)
		cpu, memory = cpu+c, memory+m
		if theirs := metav1.GetControllerOf(other); owner != nil && theirs != nil && owner.UID == theirs.UID {
			siblings++
		}
	}
	score := 3 * (100 / (1 + softTaints))
	if wished > 0 {
		score += 2 * (granted * 100 / wished)
	}
	if owner != nil {
		score += 2 * (100 / (1 + siblings))
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
