package queue_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/scheduler/core"
	"github.com/headway-sh/headway/scheduler/queue"
)

func pod(t *testing.T, name string, priority int32) *core.Pod {
	t.Helper()
	p, err := core.NewPod(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{Priority: ptr.To(priority)}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func drain(q *queue.Queue, now time.Time) (names []string) {
	for {
		item, ok := q.Pop(now)
		if !ok {
			return names
		}
		names = append(names, item.Pod.Object.Name)
	}
}

func TestPriorityThenAge(t *testing.T) {
	t.Parallel()
	q, now := queue.New(), time.Unix(100, 0)
	q.Add(pod(t, "late", 0), now.Add(time.Second))
	q.Add(pod(t, "early", 0), now)
	q.Add(pod(t, "second", 0), now)
	q.Add(pod(t, "important", 10), now.Add(time.Minute))
	if diff := cmp.Diff([]string{"important", "early", "second", "late"}, drain(q, now)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestParkedPodsWakeByWhatHelps(t *testing.T) {
	t.Parallel()
	q, now := queue.New(), time.Unix(100, 0)
	for name, helps := range map[string]core.Change{"tainted": core.NodeAdded, "large": core.NodeAdded | core.PodGone} {
		q.Add(pod(t, name, 0), now)
		item, _ := q.Pop(now)
		q.Park(item, helps, now)
	}
	q.Wake(core.PodGone, now)
	if got := drain(q, now); got != nil {
		t.Errorf("%v came before the back-off was over", got)
	}
	if got := q.Next(); !got.Equal(now.Add(queue.InitialBackoff)) {
		t.Errorf("next at %s", got)
	}
	if diff := cmp.Diff([]string{"large"}, drain(q, now.Add(queue.InitialBackoff))); diff != "" {
		t.Errorf("woken by a pod that went (-want +got):\n%s", diff)
	}
	q.Wake(core.NodeAdded, now.Add(time.Minute))
	if diff := cmp.Diff([]string{"tainted"}, drain(q, now.Add(time.Minute))); diff != "" {
		t.Errorf("woken by a node (-want +got):\n%s", diff)
	}
}

func TestBackoffDoublesUpToTheMaximum(t *testing.T) {
	t.Parallel()
	q, now := queue.New(), time.Unix(100, 0)
	q.Add(pod(t, "p", 0), now)
	for _, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		if _, ok := q.Pop(now); !ok {
			t.Fatal("not ready after its back-off")
		}
		q.Retry("p", now)
		if got := q.Next().Sub(now); got != want*time.Second {
			t.Fatalf("waits %s, want %ds", got, want)
		}
		now = q.Next()
	}
	q.Remove("p")
	if q.Len() != 0 || !q.Next().IsZero() {
		t.Error("a removed pod still waits")
	}
}

// TestParkedForTooLong: no change has helped, and the pod is tried all the same.
func TestParkedForTooLong(t *testing.T) {
	t.Parallel()
	q, now := queue.New(), time.Unix(100, 0)
	q.Add(pod(t, "p", 0), now)
	item, _ := q.Pop(now)
	q.Park(item, core.NodeTainted, now)
	if want := now.Add(queue.MaxParked); !q.Next().Equal(want) {
		t.Errorf("next at %v, want %v", q.Next(), want)
	}
	q.Wake(core.PodGone|core.NodeLabelled, now.Add(time.Minute))
	if got := drain(q, now.Add(queue.MaxParked-time.Second)); len(got) > 0 {
		t.Errorf("tried too early: %v", got)
	}
	if got := drain(q, now.Add(queue.MaxParked)); len(got) != 1 {
		t.Errorf("tried %v, want p", got)
	}
}
