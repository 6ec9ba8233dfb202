// Package job runs the pods of Jobs until enough of them have succeeded, and
// counts exactly how they ended. It writes pods (their existence, controller
// reference and tracking finalizer) and the status of Jobs.
//
// A pod carries the finalizer batch.kubernetes.io/job-tracking until its end
// has been written down, so nothing that happens in between, a crash included,
// makes an end count twice or never:
//
//	pod ends ─▶ its UID in status.uncountedTerminatedPods ─▶ finalizer goes ─▶ counted, UID out
//	            (an index that succeeded: in completedIndexes)   (pod may go)     (in one write)
//
// A Job ends in two steps: FailureTarget or SuccessCriteriaMet says how it will
// end and lets the remaining pods be deleted; Failed or Complete follows when no
// pod is left to wait for.
//
// Decide is the whole of it as a function of what was read; the Reconciler reads
// and writes. The waits before failed pods are replaced are computed from the
// pods that are there, so they survive the controller too.
package job
