package nodelife

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

// conditions that nobody can vouch for while a node is lost.
var conditions = []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}

// pressures are the conditions, other than Ready, that keep new pods away.
var pressures = map[corev1.NodeConditionType]string{
	corev1.NodeMemoryPressure:     corev1.TaintNodeMemoryPressure,
	corev1.NodeDiskPressure:       corev1.TaintNodeDiskPressure,
	corev1.NodePIDPressure:        corev1.TaintNodePIDPressure,
	corev1.NodeNetworkUnavailable: corev1.TaintNodeNetworkUnavailable,
}

func condition(n *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == kind {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// Lose gives the node's conditions as they are once nobody hears it; it tells
// whether that changes any.
func Lose(n *corev1.Node, now time.Time) bool {
	changed := false
	at := metav1.NewTime(now)
	for _, kind := range conditions {
		c := condition(n, kind)
		if c == nil {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
				Type: kind, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated",
				Message: "Kubelet never posted node status.", LastTransitionTime: at})
			changed = true
			continue
		}
		if c.Status != corev1.ConditionUnknown {
			c.Status, c.Reason, c.Message, c.LastTransitionTime = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status.", at
			changed = true
		}
	}
	return changed
}

// NoExecute is what becomes of the taint that evicts the pods of a node in a
// bad state.
type NoExecute int

const (
	// Keep leaves it as it is, there or not.
	Keep NoExecute = iota
	// Add sees to it that it is there.
	Add
	// Drop takes it away.
	Drop
)

// Taints gives the taints that the node's conditions ask for beside those that
// others have put there. A taint that stays keeps the time it was added.
func Taints(n *corev1.Node, evicts NoExecute, now time.Time) []corev1.Taint {
	evicting := evicts == Add || evicts == Keep && tainted(n)
	var out []corev1.Taint
	for _, t := range n.Spec.Taints {
		if !ours(t) {
			out = append(out, t)
		}
	}
	add := func(key string, effects ...corev1.TaintEffect) {
		for _, effect := range effects {
			want := corev1.Taint{Key: key, Effect: effect}
			if effect == corev1.TaintEffectNoExecute && !evicting {
				continue
			}
			if i := slices.IndexFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&want) }); i >= 0 {
				want = n.Spec.Taints[i]
			} else if at := metav1.NewTime(now); effect == corev1.TaintEffectNoExecute {
				want.TimeAdded = &at
			}
			out = append(out, want)
		}
	}
	if n.Spec.Unschedulable {
		add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	switch ready := condition(n, corev1.NodeReady); {
	case ready == nil || ready.Status == corev1.ConditionFalse:
		add(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute)
	case ready.Status == corev1.ConditionUnknown:
		add(corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute)
	}
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeNetworkUnavailable} {
		if c := condition(n, kind); c != nil && c.Status == corev1.ConditionTrue {
			add(pressures[kind], corev1.TaintEffectNoSchedule)
		}
	}
	return out
}

func ours(t corev1.Taint) bool {
	switch t.Key {
	case corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable:
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	case corev1.TaintNodeUnschedulable, corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure, corev1.TaintNodeNetworkUnavailable:
		return t.Effect == corev1.TaintEffectNoSchedule
	}
	return false
}

// EvictAt is when the node's NoExecute taints end the pod; false if never. The
// shortest toleration counts, from the time its taint was added.
func EvictAt(p *corev1.Pod, taints []corev1.Taint) (time.Time, bool) {
	var at time.Time
	found := false
	for i := range taints {
		t := &taints[i]
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		var since time.Time
		if t.TimeAdded != nil {
			since = t.TimeAdded.Time
		}
		seconds, tolerated, ever := toleration(p, t)
		if tolerated && !ever {
			continue
		}
		if end := since.Add(time.Duration(seconds) * time.Second); !found || end.Before(at) {
			at, found = end, true
		}
	}
	return at, found
}

// toleration says for how many seconds the pod tolerates the taint, whether it
// does at all, and whether that ever ends.
func toleration(p *corev1.Pod, t *corev1.Taint) (seconds int64, tolerated, ends bool) {
	for i := range p.Spec.Tolerations {
		o := &p.Spec.Tolerations[i]
		if !o.ToleratesTaint(klog.Logger{}, t, false) {
			continue
		}
		if o.TolerationSeconds == nil {
			tolerated = true
			continue
		}
		limit := max(*o.TolerationSeconds, 0)
		if !ends || limit < seconds {
			seconds = limit
		}
		tolerated, ends = true, true
	}
	return seconds, tolerated, ends
}
