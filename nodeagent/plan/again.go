package plan

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/status"
)

// allAgain drives a restart of all of the pod's containers, which a rule of
// one that has ended asks for, and tells whether something still has to end
// for it. It is fast: neither preStop nor the grace period counts (KEP-5532).
func (m *maker) allAgain() bool {
	if restartsAll(m.Pod, m.Observed) {
		m.act(Action{Kind: AllAgain})
		return true
	}
	waiting := false
	for name, o := range m.Observed.Containers {
		if !o.Running() || !o.Again {
			continue
		}
		waiting = true
		if !m.Busy[name] {
			m.act(Action{Kind: Kill, Container: name, Deadline: m.Now, Reason: Restarting, Fast: true})
		}
	}
	slices.SortFunc(m.plan.Actions, func(a, b Action) int { return cmp.Compare(a.Container, b.Container) })
	return waiting
}

// restartsAll tells whether a container has ended in a way that restarts all
// of them, and that has not been begun.
func restartsAll(pod *corev1.Pod, o *status.Observed) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			at := o.Containers[list[i].Name]
			if at.Exited() && !at.Again && !at.Stale && status.After(pod, &list[i], at.ExitCode) == status.AllAgain {
				return true
			}
		}
	}
	return false
}
