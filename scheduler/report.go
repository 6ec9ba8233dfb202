package scheduler

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reports holds, for each pod that could not be placed, the newest reason
// until it is written: slow writes never hold up decisions.
type reports struct {
	mu      sync.Mutex // guards waiting and said
	waiting map[types.UID]report
	// said is what was last written, so that equal refusals write nothing.
	said  map[types.UID]string
	ready chan struct{}
}

type report struct {
	pod     *corev1.Pod
	message string
}

func newReports() *reports {
	return &reports{waiting: map[types.UID]report{}, said: map[types.UID]string{}, ready: make(chan struct{}, 1)}
}

func (r *reports) unschedulable(pod *corev1.Pod, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said[pod.UID] == message {
		return
	}
	r.said[pod.UID] = message
	r.waiting[pod.UID] = report{pod, message}
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

func (r *reports) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, uid)
	delete(r.said, uid)
}

func (r *reports) take() (report, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid, next := range r.waiting {
		delete(r.waiting, uid)
		return next, true
	}
	return report{}, false
}

// report writes conditions and events until ctx ends.
func (s *Scheduler) report(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.reports.ready:
		}
		for next, ok := s.reports.take(); ok && ctx.Err() == nil; next, ok = s.reports.take() {
			s.events.Event(next.pod, corev1.EventTypeWarning, "FailedScheduling", next.message)
			if err := s.writeCondition(ctx, next); client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
				s.log.Warn("write PodScheduled condition", "namespace", next.pod.Namespace, "pod", next.pod.Name, "err", err)
				s.reports.forget(next.pod.UID) // the next refusal says it again
			}
		}
	}
}

func (s *Scheduler) writeCondition(ctx context.Context, r report) error {
	pod := r.pod.DeepCopy()
	want := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: r.message, LastTransitionTime: metav1.NewTime(s.clock.Now()),
	}
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == want.Type })
	if i < 0 {
		pod.Status.Conditions = append(pod.Status.Conditions, want)
	} else {
		have := &pod.Status.Conditions[i]
		if have.Status == want.Status && have.Reason == want.Reason && have.Message == want.Message {
			return nil
		}
		if have.Status == want.Status {
			want.LastTransitionTime = have.LastTransitionTime
		}
		*have = want
	}
	return s.config.Client.Status().Patch(ctx, pod, client.StrategicMergeFrom(r.pod))
}
