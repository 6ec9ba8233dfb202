package job

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/reconciler/podstate"
)

// count writes down what has ended: ends that are in the making and whose pod
// is no longer tracked are counted, new ends come into the making.
func (p *pass) count() {
	s := &p.plan.Status
	held := map[types.UID]bool{}
	ready := int32(0)
	for _, pod := range p.pods {
		if tracked(pod) {
			held[pod.UID] = true
		}
	}
	for _, pod := range p.active {
		if podstate.IsReady(pod) {
			ready++
		}
	}
	s.Active, s.Ready, s.Terminating = int32(len(p.active)), &ready, ptr.To(int32(p.terminating))
	u := s.UncountedTerminatedPods
	u.Succeeded, s.Succeeded = settle(u.Succeeded, held, s.Succeeded)
	u.Failed, s.Failed = settle(u.Failed, held, s.Failed)
	taken := p.take()
	if !indexed(p.job) {
		return
	}
	s.CompletedIndexes = taken.String()
	s.Succeeded = int32(taken.total())
	if p.perIndex() {
		s.FailedIndexes = ptr.To(p.lost.String())
	}
}

// settle counts the ends whose pod is not held any more.
func settle(uids []types.UID, held map[types.UID]bool, count int32) ([]types.UID, int32) {
	var left []types.UID
	for _, uid := range uids {
		if held[uid] {
			left = append(left, uid)
		} else {
			count++
		}
	}
	return left, count
}

// take takes down the ends of tracked pods, as many as fit, plans their release
// and returns the indexes that are then done.
func (p *pass) take() indexes {
	u := p.plan.Status.UncountedTerminatedPods
	done := parseIndexes(p.job.Status.CompletedIndexes, p.completions)
	var more []int
	for _, pod := range p.byIndex() {
		if !p.over(pod) {
			continue
		}
		if len(more)+len(u.Succeeded)+len(u.Failed) >= mostUncounted && p.fresh[pod.UID] {
			p.again(1) // the rest in the next pass
			break
		}
		p.plan.Release = append(p.plan.Release, pod)
		switch {
		case !p.fresh[pod.UID]: // taken before, or nothing that counts
		case pod.Status.Phase == corev1.PodSucceeded && indexed(p.job):
			more = append(more, indexOf(pod, p.completions))
		case pod.Status.Phase == corev1.PodSucceeded:
			u.Succeeded = append(u.Succeeded, pod.UID)
		case judge(p.job, pod).counts():
			u.Failed = append(u.Failed, pod.UID)
		}
	}
	return done.with(more...)
}

// over tells whether nothing more is to be learnt from a tracked pod.
func (p *pass) over(pod *corev1.Pod) bool {
	if !tracked(pod) {
		return false
	}
	if !podstate.IsTerminal(pod) && !failed(p.job, pod) && (p.job.DeletionTimestamp == nil || pod.DeletionTimestamp == nil) {
		return false
	}
	kept := p.kept[indexOf(pod, p.completions)]
	return kept == nil || kept.UID != pod.UID
}

// finish writes down that the Job will end, and that it has when no pod is left
// to wait for.
func (p *pass) finish() {
	if p.end == nil {
		return
	}
	s := &p.plan.Status
	if find(s.Conditions, p.end.Type) == nil {
		p.set(p.end)
	}
	u := s.UncountedTerminatedPods
	if len(p.active)+p.terminating+len(u.Succeeded)+len(u.Failed)+len(p.plan.Release) > 0 || slices.ContainsFunc(p.pods, tracked) {
		return
	}
	if p.end.Type == batchv1.JobFailureTarget {
		p.set(p.condition(batchv1.JobFailed, corev1.ConditionTrue, p.end.Reason, p.end.Message))
		p.plan.Tell = append(p.plan.Tell, Event{corev1.EventTypeWarning, p.end.Reason, p.end.Message})
		return
	}
	p.set(p.condition(batchv1.JobComplete, corev1.ConditionTrue, p.end.Reason, p.end.Message))
	s.CompletionTime = &metav1.Time{Time: p.now}
	p.plan.Tell = append(p.plan.Tell, Event{corev1.EventTypeNormal, "Completed", "Job completed"})
}
