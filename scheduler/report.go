package scheduler

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
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
	said  map[types.UID]refusal
	ready chan struct{}
}

// refusal is what a waiting pod's status says.
type refusal struct {
	message string
	// nominated is the node that the pod has been promised.
	nominated string
}

type report struct {
	pod *corev1.Pod
	refusal
	// before is the node that was promised until now; pod may not know it yet.
	before string
}

func newReports() *reports {
	return &reports{waiting: map[types.UID]report{}, said: map[types.UID]refusal{}, ready: make(chan struct{}, 1)}
}

func (r *reports) unschedulable(pod *corev1.Pod, message, nominated string) {
	r.put(pod, func(refusal) refusal { return refusal{message, nominated} })
}

// withdrawn clears the promise of a node and says again what was said before.
func (r *reports) withdrawn(pod *corev1.Pod) {
	r.put(pod, func(old refusal) refusal { return refusal{message: old.message} })
}

func (r *reports) put(pod *corev1.Pod, change func(refusal) refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.said[pod.UID]
	next := change(old)
	if ok && old == next {
		return
	}
	r.said[pod.UID] = next
	r.waiting[pod.UID] = report{pod, next, old.nominated}
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
			if next.message != "" {
				s.events.Event(next.pod, corev1.EventTypeWarning, "FailedScheduling", next.message)
			}
			if err := s.writeRefusal(ctx, next); client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
				s.log.Warn("write PodScheduled condition", "namespace", next.pod.Namespace, "pod", next.pod.Name, "err", err)
				s.reports.forget(next.pod.UID) // the next refusal says it again
			}
		}
	}
}

func (s *Scheduler) writeRefusal(ctx context.Context, r report) error {
	known := r.pod
	if r.before != "" {
		known = r.pod.DeepCopy()
		known.Status.NominatedNodeName = r.before
	}
	pod := known.DeepCopy()
	if r.message != "" {
		setCondition(&pod.Status, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
			Message: r.message, LastTransitionTime: metav1.NewTime(s.clock.Now()), ObservedGeneration: pod.Generation,
		})
	}
	pod.Status.NominatedNodeName = r.nominated
	if equality.Semantic.DeepEqual(pod.Status, known.Status) {
		return nil
	}
	return s.config.Client.Status().Patch(ctx, pod, client.StrategicMergeFrom(known))
}
