package job

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// The wait before a failed pod is replaced doubles between these.
const (
	firstWait = 10 * time.Second
	lastWait  = 6 * time.Minute
)

// afterFailures is the wait after the nth failure in a row.
func afterFailures(n int) time.Duration {
	if n <= 0 {
		return 0
	}
	if n > 10 {
		return lastWait
	}
	return min(firstWait<<(n-1), lastWait)
}

// remaining is how long no pod may be made after the failures since the last
// success. Pods that were killed on purpose, untracked first, are no failures.
func remaining(job *batchv1.Job, pods []*corev1.Pod, now time.Time) time.Duration {
	var success, failure time.Time
	for _, p := range pods {
		if at := endedAt(p); p.Status.Phase == corev1.PodSucceeded && at.After(success) {
			success = at
		}
	}
	n := 0
	for _, p := range pods {
		if !failed(job, p) || !tracked(p) && p.DeletionTimestamp != nil {
			continue
		}
		at := endedAt(p)
		if !at.After(success) && !success.IsZero() {
			continue
		}
		n++
		if at.After(failure) {
			failure = at
		}
	}
	return max(failure.Add(afterFailures(n)).Sub(now), 0)
}

// remainingOf is how long an index must wait for the successor of a failed pod.
func remainingOf(p *corev1.Pod, now time.Time) time.Duration {
	if p == nil {
		return 0
	}
	return max(endedAt(p).Add(afterFailures(failuresOf(p)+1)).Sub(now), 0)
}

// failuresOf is how many failures of its index a pod knows of.
func failuresOf(p *corev1.Pod) int {
	return annotated(p, batchv1.JobIndexFailureCountAnnotation) + annotated(p, batchv1.JobIndexIgnoredFailureCountAnnotation)
}
