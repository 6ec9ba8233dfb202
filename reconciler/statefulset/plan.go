package statefulset

import (
	"cmp"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/reconciler/podstate"
)

// burst is how many pods one pass of a parallel set creates or deletes at most.
const burst = 500

// State is what was read of a set.
type State struct {
	Set *appsv1.StatefulSet
	// Pods are the set's.
	Pods []*corev1.Pod
	// Current and Update are the names of the revisions that the set comes from
	// and goes to.
	Current, Update string
	// IsUpdate tells whether a revision has the template of Update.
	IsUpdate func(revision string) bool
	Now      time.Time
}

// Plan is what one pass does.
type Plan struct {
	// Create are ordinals, each with the name of the revision it is made from.
	Create []Creation
	Delete []*corev1.Pod
	// Repair are pods that have lost a label of their identity.
	Repair []*corev1.Pod
}

// Creation is a pod to be made.
type Creation struct {
	Ordinal  int
	Revision string
}

// plan is Next on its way.
type plan struct {
	State
	Plan
	slots     []slot        // by ordinal
	condemned []*corev1.Pod // highest ordinal first
	ordered   bool
}

// slot is the place of one ordinal; pod is nil where there is none.
type slot struct {
	index int // from the first ordinal
	pod   *corev1.Pod
}

// Next decides what to do.
func Next(s State) Plan {
	p := &plan{State: s, ordered: s.Set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement}
	if s.Set.DeletionTimestamp != nil {
		return p.Plan
	}
	p.slots, p.condemned = sorted(s.Set, s.Pods)
	for _, pod := range s.Pods {
		if pod.DeletionTimestamp == nil && !hasIdentity(s.Set, pod) {
			p.Repair = append(p.Repair, pod)
		}
	}
	if p.fill() && p.shrink() {
		p.update()
	}
	p.Create = p.Create[:min(len(p.Create), burst)]
	p.Delete = p.Delete[:min(len(p.Delete), burst)]
	return p.Plan
}

// sorted gives the slots and the pods beyond them. Of the slots without a pod
// it gives no more than one pass fills: a set may want more pods than there is
// memory for.
func sorted(set *appsv1.StatefulSet, pods []*corev1.Pod) (slots []slot, condemned []*corev1.Pod) {
	there := map[int]*corev1.Pod{}
	for _, p := range pods {
		if n := Ordinal(set, p.Name); inRange(set, n) {
			there[n-start(set)] = p
		} else if n >= 0 {
			condemned = append(condemned, p)
		}
	}
	missing := 0
	for _, i := range slices.Sorted(maps.Keys(there)) {
		for next := following(slots); next < i && missing < burst; next++ {
			slots = append(slots, slot{index: next})
			missing++
		}
		slots = append(slots, slot{i, there[i]})
	}
	for next := following(slots); next < replicas(set) && missing < burst; next++ {
		slots = append(slots, slot{index: next})
		missing++
	}
	slices.SortFunc(condemned, func(a, b *corev1.Pod) int { return cmp.Compare(Ordinal(set, b.Name), Ordinal(set, a.Name)) })
	return slots, condemned
}

func following(slots []slot) int {
	if len(slots) == 0 {
		return 0
	}
	return slots[len(slots)-1].index + 1
}

// fill sees to the slots; false: wait.
func (p *plan) fill() bool {
	for _, slot := range p.slots {
		pod := slot.pod
		switch {
		case pod == nil:
			p.Create = append(p.Create, Creation{start(p.Set) + slot.index, p.revision(slot.index)})
		case pod.DeletionTimestamp != nil:
		case podstate.IsTerminal(pod):
			p.Delete = append(p.Delete, pod)
		case p.available(pod):
			continue
		case p.ordered:
			if stuck := p.stuck(); stuck != nil {
				p.Delete = append(p.Delete, stuck)
			}
		}
		if p.ordered {
			return false
		}
	}
	return true
}

// shrink removes condemned pods; false: wait.
func (p *plan) shrink() bool {
	first := p.firstUnavailable()
	for _, pod := range p.condemned {
		if pod.DeletionTimestamp == nil && (!p.ordered || pod == first || p.available(pod) || podstate.IsTerminal(pod)) {
			p.Delete = append(p.Delete, pod)
		}
		if p.ordered {
			return false
		}
	}
	return true
}

// update replaces pods of other revisions, from the highest ordinal on.
func (p *plan) update() {
	if p.Set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateStatefulSetStrategyType {
		return
	}
	budget := p.maxUnavailable() - replicas(p.Set)
	for _, slot := range p.slots {
		if slot.pod != nil {
			budget++
		}
	}
	for _, slot := range p.slots {
		if pod := slot.pod; pod != nil && (pod.DeletionTimestamp != nil || !p.available(pod)) {
			budget--
		}
	}
	stuck := p.stuck()
	if stuck != nil && !podstate.IsTerminal(stuck) { // fill has seen to those that have ended
		p.Delete = append(p.Delete, stuck)
	}
	for _, slot := range slices.Backward(p.slots) {
		if slot.index < p.partition() || budget <= 0 {
			break
		}
		pod := slot.pod
		if pod == nil || pod.DeletionTimestamp != nil || pod == stuck || p.updated(pod) || podstate.IsTerminal(pod) {
			continue
		}
		if p.available(pod) {
			budget--
		}
		p.Delete = append(p.Delete, pod)
	}
}

// stuck is the pod that the update takes next and that is not available, so
// that its loss costs nothing; nil when there is none. Where order does not
// matter it is the first such pod, whatever comes before it. While a pod that
// the update has made is not available yet there is none: it may be the new
// template that is broken.
func (p *plan) stuck() *corev1.Pod {
	if p.Set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateStatefulSetStrategyType {
		return nil
	}
	var first *corev1.Pod
	for _, slot := range slices.Backward(p.slots) {
		pod := slot.pod
		switch {
		case slot.index < p.partition():
			return first
		case pod == nil:
		case pod.DeletionTimestamp != nil:
			return nil
		case p.available(pod):
			if p.ordered && !p.updated(pod) {
				return nil
			}
		case p.updated(pod):
			return nil
		case p.ordered:
			return pod
		case first == nil:
			first = pod
		}
	}
	return first
}

// firstUnavailable is the pod of the lowest ordinal that is not available. A
// condemned one that has ended does not count: nobody can wait for it.
func (p *plan) firstUnavailable() *corev1.Pod {
	for _, slot := range p.slots {
		if slot.pod != nil && !p.available(slot.pod) {
			return slot.pod
		}
	}
	for _, pod := range slices.Backward(p.condemned) {
		if !p.available(pod) && !podstate.IsTerminal(pod) {
			return pod
		}
	}
	return nil
}

// revision is what the pod of a slot is made from.
func (p *plan) revision(slot int) string {
	strategy := p.Set.Spec.UpdateStrategy
	if strategy.Type != appsv1.RollingUpdateStatefulSetStrategyType {
		return p.Update
	}
	if strategy.RollingUpdate == nil && slot < int(p.Set.Status.CurrentReplicas) || slot < p.partition() {
		return p.Current
	}
	return p.Update
}

func (p *plan) available(pod *corev1.Pod) bool { return available(p.Set, pod, p.Now) }

func (p *plan) updated(pod *corev1.Pod) bool { return p.IsUpdate(pod.Labels[revisionLabel]) }

// partition is the first slot that is updated.
func (p *plan) partition() int {
	if rolling := p.Set.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		return int(ptr.Deref(rolling.Partition, 0))
	}
	return 0
}

// maxUnavailable is at least 1, else nothing could move; percentages are of the
// replicas and are rounded up.
func (p *plan) maxUnavailable() int {
	rolling := p.Set.Spec.UpdateStrategy.RollingUpdate
	if rolling == nil || rolling.MaxUnavailable == nil {
		return 1
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(rolling.MaxUnavailable, replicas(p.Set), true)
	if err != nil {
		return 1 // validation refuses it
	}
	return max(n, 1)
}

// available tells whether a pod runs and has been ready for long enough.
func available(set *appsv1.StatefulSet, p *corev1.Pod, now time.Time) bool {
	if p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil {
		return false
	}
	ok, _ := podstate.Available(p, set.Spec.MinReadySeconds, now)
	return ok
}
