package daemonset

import (
	"cmp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/headway-sh/headway/reconciler/podstate"
)

// burst is how many pods one pass creates or deletes at most.
const burst = 250

// State is what was read of a set.
type State struct {
	Set   *appsv1.DaemonSet
	Nodes []*corev1.Node
	// Pods are the set's.
	Pods []*corev1.Pod
	// IsUpdate tells whether a pod has the present template.
	IsUpdate func(p *corev1.Pod) bool
	Now      time.Time
}

// Plan is what one pass does.
type Plan struct {
	// Create are the names of nodes that get a pod.
	Create []string
	Delete []*corev1.Pod
	// Ended are pods that have failed or ended, and are to be replaced; those
	// that fail again and again with waits between.
	Ended []*corev1.Pod
}

// place is a node that the set is for, with its pods.
type place struct {
	name string
	// old and new are the pods that count: the oldest of their revision.
	old, new *corev1.Pod
	// busy places are waited for: a pod goes, or is to be made.
	busy bool
}

type plan struct {
	State
	Plan
	judge   *Judge
	desired int // nodes that the set is for
	places  []*place
}

func newPlan(s State) *plan {
	p := &plan{State: s, judge: NewJudge(s.Set)}
	for _, n := range s.Nodes {
		if run, _ := p.judge.Of(n); run {
			p.desired++
		}
	}
	return p
}

// Next decides what to do.
func Next(s State) Plan {
	if s.Set.DeletionTimestamp != nil {
		return Plan{}
	}
	p := newPlan(s)
	byNode := p.byNode()
	for _, n := range slices.SortedFunc(slices.Values(s.Nodes), func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) }) {
		run, stay := p.judge.Of(n)
		pods := byNode[n.Name]
		delete(byNode, n.Name)
		if !stay {
			p.drop(pods)
			continue
		}
		place := p.manage(n.Name, pods, run)
		if run {
			p.places = append(p.places, place)
		}
	}
	for _, pods := range byNode { // of nodes that have gone: those that were bound are garbage
		p.drop(slices.DeleteFunc(pods, func(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" }))
	}
	if s.Set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		p.roll()
	}
	p.Create = p.Create[:min(len(p.Create), burst)]
	p.Delete = p.Delete[:min(len(p.Delete), burst)]
	return p.Plan
}

// byNode groups the pods by their node, oldest first.
func (p *plan) byNode() map[string][]*corev1.Pod {
	all := map[string][]*corev1.Pod{}
	for _, pod := range p.Pods {
		all[nodeOf(pod)] = append(all[nodeOf(pod)], pod)
	}
	for _, pods := range all {
		slices.SortFunc(pods, byAge)
	}
	return all
}

// byAge puts bound pods first, then the older ones.
func byAge(a, b *corev1.Pod) int {
	bound := func(p *corev1.Pod) int {
		if p.Spec.NodeName != "" {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(bound(a), bound(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
}

func (p *plan) drop(pods []*corev1.Pod) {
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil {
			p.Delete = append(p.Delete, pod)
		}
	}
}

// manage brings a node to one pod, or to an old one and its successor while the
// set surges.
func (p *plan) manage(name string, pods []*corev1.Pod, run bool) *place {
	at := &place{name: name}
	if len(pods) == 0 {
		at.busy = true
		if run {
			p.Create = append(p.Create, name)
		}
		return at
	}
	for _, pod := range pods {
		slot := &at.old
		if p.IsUpdate(pod) {
			slot = &at.new
		}
		switch {
		case pod.DeletionTimestamp != nil:
			at.busy = true
		case podstate.IsTerminal(pod):
			at.busy = true
			p.Ended = append(p.Ended, pod)
		case *slot != nil:
			p.drop([]*corev1.Pod{pod})
		default:
			*slot = pod
		}
	}
	if at.old == nil || at.new == nil {
		return at
	}
	if p.surge() == 0 { // one is too many: the younger
		if byAge(at.old, at.new) < 0 {
			p.drop([]*corev1.Pod{at.new})
			at.new = nil
		} else {
			p.drop([]*corev1.Pod{at.old})
			at.old = nil
		}
	} else if !podstate.IsReady(at.old) || p.available(at.new) {
		p.drop([]*corev1.Pod{at.old})
		at.old = nil
	}
	return at
}

// roll replaces old pods within what the strategy promises.
func (p *plan) roll() {
	if surge := p.surge(); surge > 0 {
		p.rollOver(surge)
		return
	}
	budget := p.unavailable()
	var willing []*corev1.Pod
	for _, at := range p.places {
		switch {
		case at.busy && at.new == nil && at.old == nil:
			budget--
		case at.new != nil:
			if !p.available(at.new) {
				budget--
			}
		case !p.available(at.old): // its loss costs nothing
			budget--
			p.Delete = append(p.Delete, at.old)
		default:
			willing = append(willing, at.old)
		}
	}
	p.Delete = append(p.Delete, willing[:max(min(len(willing), budget), 0)]...)
}

// rollOver makes successors beside old pods, as many as the surge permits.
// manage deletes an old pod when its successor is available.
func (p *plan) rollOver(surge int) {
	var willing []string
	for _, at := range p.places {
		switch {
		case at.old == nil:
		case at.new != nil:
			surge--
		case at.busy: // a former successor goes
			surge--
		case !p.available(at.old): // it serves nobody: this is a replacement, no surge
			p.Create = append(p.Create, at.name)
		default:
			willing = append(willing, at.name)
		}
	}
	p.Create = append(p.Create, willing[:max(min(len(willing), surge), 0)]...)
}

func (p *plan) available(pod *corev1.Pod) bool {
	ok, _ := podstate.Available(pod, p.Set.Spec.MinReadySeconds, p.Now)
	return ok && pod.DeletionTimestamp == nil
}

// surge is how many nodes may have a second pod; percentages are rounded up.
func (p *plan) surge() int {
	if rolling := p.Set.Spec.UpdateStrategy.RollingUpdate; rolling != nil && p.Set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		return p.share(rolling.MaxSurge)
	}
	return 0
}

// unavailable is how many nodes may be without an available pod: at least one,
// as nothing could move else.
func (p *plan) unavailable() int {
	if rolling := p.Set.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		return max(p.share(rolling.MaxUnavailable), 1)
	}
	return 1
}

// share resolves a percentage of all nodes that the set is for.
func (p *plan) share(v *intstr.IntOrString) int {
	if v == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, p.desired, true)
	if err != nil {
		return 0 // validation refuses it
	}
	return n
}
