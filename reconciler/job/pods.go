package job

import (
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/reconciler/podstate"
)

// noIndex is the index of a pod that has none.
const noIndex = -1

// indexVariable tells containers which index they work on.
const indexVariable = "JOB_COMPLETION_INDEX"

// longestPrefix is what five random characters leave of a pod's name.
const longestPrefix = 63 - 5

func tracked(p *corev1.Pod) bool {
	return slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer)
}

func indexed(job *batchv1.Job) bool {
	return ptr.Deref(job.Spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

func suspended(job *batchv1.Job) bool { return ptr.Deref(job.Spec.Suspend, false) }

// waits tells that a pod is replaced only when it has ended, and not already
// when it is being deleted.
func waits(job *batchv1.Job) bool {
	return ptr.Deref(job.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed) == batchv1.Failed
}

// failed tells whether a pod has ended badly, or counts as if it had.
func failed(job *batchv1.Job, p *corev1.Pod) bool {
	if p.Status.Phase == corev1.PodFailed {
		return true
	}
	return !waits(job) && p.DeletionTimestamp != nil && p.Status.Phase != corev1.PodSucceeded
}

func terminating(p *corev1.Pod) bool { return p.DeletionTimestamp != nil && !podstate.IsTerminal(p) }

// indexOf is the pod's completion index; noIndex when it has none below n.
func indexOf(p *corev1.Pod, n int) int {
	index, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || index < 0 || index >= n {
		return noIndex
	}
	return index
}

func annotated(p *corev1.Pod, name string) int {
	n, err := strconv.Atoi(p.Annotations[name])
	if err != nil {
		return 0 // never written by anybody else
	}
	return n
}

// endedAt is when a pod ended, as well as can be told.
func endedAt(p *corev1.Pod) time.Time {
	var last time.Time
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Terminated == nil || c.State.Terminated.FinishedAt.IsZero() {
			last = time.Time{}
			break
		}
		if t := c.State.Terminated.FinishedAt.Time; t.After(last) {
			last = t
		}
	}
	if !last.IsZero() {
		return last
	}
	if c := podstate.Condition(p, corev1.PodReady); c != nil && !c.LastTransitionTime.IsZero() {
		last = c.LastTransitionTime.Time
	}
	if p.DeletionTimestamp != nil {
		asked := p.DeletionTimestamp.Add(-time.Duration(ptr.Deref(p.DeletionGracePeriodSeconds, 0)) * time.Second)
		if asked.After(last) {
			last = asked
		}
	}
	if last.IsZero() {
		return p.CreationTimestamp.Time
	}
	return last
}

// Slot is a pod that is to be made.
type Slot struct {
	// Index is its completion index; noIndex for Jobs without.
	Index int
	// Replaces is the failed pod of the same index, where failures are counted
	// by index; nil for the first one.
	Replaces *corev1.Pod
}

// Pod is the pod that fills the slot.
func (s Slot) Pod(job *batchv1.Job, kind metav1.OwnerReference) *corev1.Pod {
	t := job.Spec.Template.DeepCopy()
	p := &corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}
	p.Name, p.GenerateName, p.Namespace = "", job.Name+"-", job.Namespace
	p.OwnerReferences = []metav1.OwnerReference{kind}
	if !tracked(p) {
		p.Finalizers = append(p.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if s.Index == noIndex {
		return p
	}
	number := strconv.Itoa(s.Index)
	tail := "-" + number + "-"
	p.GenerateName = job.Name[:min(len(job.Name), longestPrefix-len(tail))] + tail
	put(&p.Annotations, batchv1.JobCompletionIndexAnnotation, number)
	put(&p.Labels, batchv1.JobCompletionIndexAnnotation, number)
	p.Spec.Hostname = job.Name + "-" + number
	for i := range p.Spec.InitContainers {
		tellIndex(&p.Spec.InitContainers[i])
	}
	for i := range p.Spec.Containers {
		tellIndex(&p.Spec.Containers[i])
	}
	if job.Spec.BackoffLimitPerIndex != nil {
		s.countFailures(job, p)
	}
	return p
}

// countFailures writes down how often the index has failed before, so that the
// failed pods themselves may go.
func (s Slot) countFailures(job *batchv1.Job, p *corev1.Pod) {
	counted, ignored := 0, 0
	if old := s.Replaces; old != nil {
		counted, ignored = annotated(old, batchv1.JobIndexFailureCountAnnotation), annotated(old, batchv1.JobIndexIgnoredFailureCountAnnotation)
		if judge(job, old).counts() {
			counted++
		} else {
			ignored++
		}
	}
	put(&p.Annotations, batchv1.JobIndexFailureCountAnnotation, strconv.Itoa(counted))
	if ignored > 0 {
		put(&p.Annotations, batchv1.JobIndexIgnoredFailureCountAnnotation, strconv.Itoa(ignored))
	}
}

func put(m *map[string]string, key, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[key] = value
}

func tellIndex(c *corev1.Container) {
	if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == indexVariable }) {
		return
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: indexVariable, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"}}})
}
