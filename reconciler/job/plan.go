package job

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/reconciler/podstate"
)

const (
	// burst is how many pods one plan creates or deletes at most.
	burst = 500
	// mostUncounted is how many ends one status may have in the making.
	mostUncounted = 500
)

// Plan is what one pass over a Job writes, in the order of its fields.
type Plan struct {
	// Kill are active pods that are deleted without being counted: their
	// finalizer goes first.
	Kill []*corev1.Pod
	// Delete are active pods whose end is counted.
	Delete []*corev1.Pod
	// Create are pods that are missing; never together with Kill or Delete.
	Create []Slot
	// Status is what the pods and the Job say, before any of the above.
	Status batchv1.JobStatus
	// Release are pods that Status has taken down: their finalizer goes. The
	// next plan counts them.
	Release []*corev1.Pod
	// Tell are events about conditions that Status adds.
	Tell []Event
	// After is when to look again though nothing happens; 0: never.
	After time.Duration
}

// Event is told about the Job.
type Event struct{ Type, Reason, Message string }

// pass is one decision in the making.
type pass struct {
	job  *batchv1.Job
	pods []*corev1.Pod
	now  time.Time
	plan Plan

	active      []*corev1.Pod
	terminating int
	succeeded   int // counted, being counted and seen
	failed      int
	fresh       map[types.UID]bool // tracked pods whose end is not in the status yet

	completions int // of indexed Jobs
	done, lost  indexes
	kept        map[int]*corev1.Pod // failed pods that still carry their index's count

	end *batchv1.JobCondition // FailureTarget or SuccessCriteriaMet
}

// Decide plans a pass over a Job that has not finished. pods are the ones that
// it controls.
func Decide(job *batchv1.Job, pods []*corev1.Pod, now time.Time) Plan {
	p := &pass{job: job, pods: pods, now: now}
	p.plan.Status = *job.Status.DeepCopy()
	p.begin()
	p.look()
	if job.DeletionTimestamp == nil {
		p.judge()
		p.manage()
		p.complete()
		p.suspension()
	}
	p.count()
	p.finish()
	return p.plan
}

func (p *pass) perIndex() bool { return indexed(p.job) && p.job.Spec.BackoffLimitPerIndex != nil }

func (p *pass) again(after time.Duration) {
	if after > 0 && (p.plan.After == 0 || after < p.plan.After) {
		p.plan.After = after
	}
}

func (p *pass) begin() {
	s := &p.plan.Status
	if s.StartTime == nil && !suspended(p.job) {
		s.StartTime = &metav1.Time{Time: p.now}
	}
	if s.UncountedTerminatedPods == nil {
		s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
}

// look sorts the pods out.
func (p *pass) look() {
	s := &p.plan.Status
	taken := map[types.UID]bool{}
	for _, uid := range slices.Concat(s.UncountedTerminatedPods.Succeeded, s.UncountedTerminatedPods.Failed) {
		taken[uid] = true
	}
	p.completions = int(ptr.Deref(p.job.Spec.Completions, 0))
	if indexed(p.job) {
		p.done = parseIndexes(s.CompletedIndexes, p.completions)
	}
	p.fresh = map[types.UID]bool{}
	var newDone []int
	newSucceeded, newFailed := 0, 0
	for _, pod := range p.pods {
		switch {
		case podstate.IsActive(pod):
			p.active = append(p.active, pod)
		case terminating(pod):
			p.terminating++
		}
		if !tracked(pod) || taken[pod.UID] {
			continue
		}
		index := indexOf(pod, p.completions)
		if indexed(p.job) && index == noIndex && (pod.Status.Phase == corev1.PodSucceeded || failed(p.job, pod)) {
			continue // counts for nothing: the Job has become smaller
		}
		switch {
		case pod.Status.Phase == corev1.PodSucceeded:
			p.fresh[pod.UID] = true
			newSucceeded++
			newDone = append(newDone, index)
		case failed(p.job, pod):
			p.fresh[pod.UID] = true
			if judge(p.job, pod).counts() {
				newFailed++
			}
		}
	}
	p.failed = int(s.Failed) + len(s.UncountedTerminatedPods.Failed) + newFailed
	if !indexed(p.job) {
		p.succeeded = int(s.Succeeded) + len(s.UncountedTerminatedPods.Succeeded) + newSucceeded
		return
	}
	p.done = p.done.with(newDone...)
	p.succeeded = p.done.total()
	if p.perIndex() {
		p.lost = p.lostIndexes()
	}
}

// lostIndexes are those that have failed too often, or once too badly.
func (p *pass) lostIndexes() indexes {
	set := parseIndexes(ptr.Deref(p.job.Status.FailedIndexes, ""), p.completions)
	var more []int
	for _, pod := range p.pods {
		index := indexOf(pod, p.completions)
		if index == noIndex || !failed(p.job, pod) || !tracked(pod) || p.done.has(index) {
			continue
		}
		v := judge(p.job, pod)
		if v.action == batchv1.PodFailurePolicyActionFailIndex ||
			v.counts() && annotated(pod, batchv1.JobIndexFailureCountAnnotation) >= int(*p.job.Spec.BackoffLimitPerIndex) {
			more = append(more, index)
		}
	}
	return set.with(more...)
}

func (p *pass) fail(reason, message string) { p.ends(batchv1.JobFailureTarget, reason, message) }

func (p *pass) ends(kind batchv1.JobConditionType, reason, message string) {
	p.end = p.condition(kind, corev1.ConditionTrue, reason, message)
}

func (p *pass) condition(kind batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string) *batchv1.JobCondition {
	now := metav1.Time{Time: p.now}
	return &batchv1.JobCondition{Type: kind, Status: status, Reason: reason, Message: message, LastProbeTime: now, LastTransitionTime: now}
}

// judge finds out whether the Job's end has been decided, or is now.
func (p *pass) judge() {
	for _, kind := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget} {
		if c := find(p.plan.Status.Conditions, kind); c != nil && c.Status == corev1.ConditionTrue {
			p.end = c
			return
		}
	}
	for _, pod := range p.pods {
		if !failed(p.job, pod) || !tracked(pod) {
			continue
		}
		if v := judge(p.job, pod); v.action == batchv1.PodFailurePolicyActionFailJob {
			p.fail(batchv1.JobReasonPodFailurePolicy, v.why)
			return
		}
	}
	limit := int(ptr.Deref(p.job.Spec.BackoffLimit, 6))
	switch {
	case p.failed > limit || p.restartedTooOften(limit):
		p.fail(batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	case p.late():
		p.fail(batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	case p.perIndex() && p.job.Spec.MaxFailedIndexes != nil && p.lost.total() > int(*p.job.Spec.MaxFailedIndexes):
		p.fail(batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
	default:
		if rule := successful(p.job.Spec.SuccessPolicy, p.completions, p.done); rule >= 0 && indexed(p.job) {
			p.ends(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, fmt.Sprintf("Matched rules at index %d", rule))
		}
	}
}

// restartedTooOften counts restarts in place as failures.
func (p *pass) restartedTooOften(limit int) bool {
	if p.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	n := 0
	for _, pod := range p.pods {
		if pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending {
			continue
		}
		for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			n += int(c.RestartCount)
		}
	}
	return n > 0 && n >= limit
}

// late tells whether the Job's time is over, and else when it will be.
func (p *pass) late() bool {
	start, allowed := p.plan.Status.StartTime, p.job.Spec.ActiveDeadlineSeconds
	// A Job that has just been resumed begins anew.
	if start == nil || allowed == nil || suspended(p.job) || is(p.job, batchv1.JobSuspended) {
		return false
	}
	left := start.Add(time.Duration(*allowed) * time.Second).Sub(p.now)
	p.again(left)
	return left <= 0
}

// complete finds out whether everything has been done.
func (p *pass) complete() {
	if p.end != nil || len(p.active) > 0 || len(p.plan.Create) > 0 {
		return
	}
	switch {
	case p.job.Spec.Completions == nil:
		if p.succeeded == 0 {
			return
		}
	case p.perIndex() && p.lost.total() > 0:
		if p.succeeded+p.lost.total() >= p.completions {
			p.fail(batchv1.JobReasonFailedIndexes, "Job has failed indexes")
		}
		return
	case p.succeeded < p.completions:
		return
	}
	p.ends(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
}

// suspension says whether the Job is suspended, and lets its time begin anew
// when it no longer is.
func (p *pass) suspension() {
	if p.end != nil {
		return
	}
	s := &p.plan.Status
	was := find(s.Conditions, batchv1.JobSuspended)
	switch {
	case suspended(p.job) && (was == nil || was.Status != corev1.ConditionTrue):
		p.set(p.condition(batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended"))
		p.plan.Tell = append(p.plan.Tell, Event{corev1.EventTypeNormal, "Suspended", "Job suspended"})
	case !suspended(p.job) && was != nil && was.Status == corev1.ConditionTrue:
		p.set(p.condition(batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed"))
		p.plan.Tell = append(p.plan.Tell, Event{corev1.EventTypeNormal, "Resumed", "Job resumed"})
		s.StartTime = &metav1.Time{Time: p.now}
		if allowed := p.job.Spec.ActiveDeadlineSeconds; allowed != nil {
			p.again(time.Duration(*allowed) * time.Second)
		}
	}
}

func (p *pass) set(c *batchv1.JobCondition) {
	if old := find(p.plan.Status.Conditions, c.Type); old != nil {
		*old = *c
		return
	}
	p.plan.Status.Conditions = append(p.plan.Status.Conditions, *c)
}

func find(all []batchv1.JobCondition, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range all {
		if all[i].Type == kind {
			return &all[i]
		}
	}
	return nil
}

func is(job *batchv1.Job, kind batchv1.JobConditionType) bool {
	c := find(job.Status.Conditions, kind)
	return c != nil && c.Status == corev1.ConditionTrue
}

// Finished tells whether a Job is over.
func Finished(job *batchv1.Job) bool {
	return is(job, batchv1.JobComplete) || is(job, batchv1.JobFailed)
}

// byIndex orders pods by their index, those without first.
func (p *pass) byIndex() []*corev1.Pod {
	pods := slices.Clone(p.pods)
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(indexOf(a, p.completions), indexOf(b, p.completions)), cmp.Compare(a.UID, b.UID))
	})
	return pods
}
