package status

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Writer brings pods' status to the API: at once, only when it has changed,
// the newest only when several are waiting, and again until it is there. Safe
// for concurrent use.
type Writer struct {
	client client.Client
	clock  clock.Clock
	logger *slog.Logger
	group  sync.WaitGroup

	mu    sync.Mutex // guards slots and what is in them
	slots map[types.UID]*slot
}

// slot is one pod's way to the API.
type slot struct {
	base    *corev1.Pod       // as the API had it last
	written *corev1.PodStatus // what was last given to Set
	given   *corev1.PodStatus // the same, as the caller has it
	pending bool
	gone    chan struct{} // closed when nothing is to be written any more
	idle    chan struct{} // closed when nothing is under way
}

// NewWriter makes a writer.
func NewWriter(c client.Client, k clock.Clock, logger *slog.Logger) *Writer {
	return &Writer{client: c, clock: k, logger: logger, slots: map[types.UID]*slot{}}
}

// Set asks for a pod's status to be written; it does not block. pod is the
// object as last seen in the API and is not changed, and neither is s, also
// afterwards: the same s again is nothing new.
func (w *Writer) Set(ctx context.Context, pod *corev1.Pod, s *corev1.PodStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.slots[pod.UID]
	if at == nil {
		at = &slot{base: pod.DeepCopy(), gone: make(chan struct{})}
		w.slots[pod.UID] = at
	}
	if overwritten(at.base, pod, s) {
		at.base = pod.DeepCopy()
	} else if at.written != nil && (at.given == s || Same(at.written, s)) {
		return
	}
	at.written, at.given, at.pending = s.DeepCopy(), s, true
	if at.idle == nil {
		at.idle = make(chan struct{})
		w.group.Go(func() { w.run(ctx, at) })
	}
}

// overwritten tells whether somebody else has changed a condition that is the
// agent's since it wrote base: the control plane does while it does not hear
// the node.
func overwritten(base, pod *corev1.Pod, want *corev1.PodStatus) bool {
	if !later(pod, base) {
		return false
	}
	for i := range want.Conditions {
		c := &want.Conditions[i]
		for j := range pod.Status.Conditions {
			if have := &pod.Status.Conditions[j]; have.Type == c.Type && have.Status != c.Status {
				return true
			}
		}
	}
	return false
}

// later tells whether a is a later state of the pod than b. What Set was given
// while a write was under way may be later than that write's own answer.
func later(a, b *corev1.Pod) bool {
	order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && order > 0
}

// Flush waits until the pod's newest status is in the API.
func (w *Writer) Flush(ctx context.Context, uid types.UID) error {
	w.mu.Lock()
	at := w.slots[uid]
	var idle chan struct{}
	if at != nil {
		idle = at.idle
	}
	w.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Forget drops what is known of a pod and gives up what is not written yet: of
// a pod that is gone the API says no more than that the node may not.
func (w *Writer) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at := w.slots[uid]; at != nil {
		at.pending = false
		close(at.gone)
		delete(w.slots, uid)
	}
}

// Wait waits for writes under way; their contexts have to end first.
func (w *Writer) Wait() { w.group.Wait() }

func (w *Writer) run(ctx context.Context, at *slot) {
	delay := firstRetry
	for {
		w.mu.Lock()
		if !at.pending || ctx.Err() != nil {
			close(at.idle)
			at.idle = nil
			w.mu.Unlock()
			return
		}
		want := at.written.DeepCopy()
		at.pending = false
		base := at.base
		w.mu.Unlock()

		now, err := w.write(ctx, base, want)
		w.mu.Lock()
		if now != nil && !later(at.base, now) {
			at.base = now
		}
		if err == nil {
			delay = firstRetry
			w.mu.Unlock()
			continue
		}
		select {
		case <-at.gone:
			w.mu.Unlock()
			continue
		default:
		}
		at.pending = true
		w.mu.Unlock()
		w.logger.Warn("pod status not written", "pod", client.ObjectKeyFromObject(base), "err", err)
		select {
		case <-w.clock.After(delay):
		case <-at.gone:
		case <-ctx.Done():
		}
		delay = min(2*delay, lastRetry)
	}
}

// write patches base's status into want and gives the pod as it is then. A pod
// that is gone is success. After an error it gives a fresher base if it has one.
func (w *Writer) write(ctx context.Context, base *corev1.Pod, want *corev1.PodStatus) (*corev1.Pod, error) {
	patch, err := diff(base, want)
	if err != nil || patch == nil {
		return base, err
	}
	now := &corev1.Pod{}
	now.Namespace, now.Name = base.Namespace, base.Name
	err = w.client.Status().Patch(ctx, now, client.RawPatch(types.StrategicMergePatchType, patch))
	switch {
	case err == nil:
		return now, nil
	case apierrors.IsNotFound(err):
		return base, nil
	case apierrors.IsConflict(err) || apierrors.IsInvalid(err):
		fresh := &corev1.Pod{}
		if e := w.client.Get(ctx, client.ObjectKeyFromObject(base), fresh); apierrors.IsNotFound(e) || e == nil && fresh.UID != base.UID {
			return base, nil // another pod has the name: this one is gone
		} else if e == nil {
			return fresh, fmt.Errorf("patch status: %w", err)
		}
	}
	return nil, fmt.Errorf("patch status: %w", err)
}

// diff is the strategic merge patch of a status, bound to the pod's UID; nil
// when there is nothing to say.
func diff(base *corev1.Pod, want *corev1.PodStatus) ([]byte, error) {
	from, err := json.Marshal(corev1.Pod{Status: base.Status})
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	to, err := json.Marshal(corev1.Pod{Status: *want})
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(from, to, corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("diff status: %w", err)
	}
	var body map[string]any
	if err := json.Unmarshal(patch, &body); err != nil {
		return nil, fmt.Errorf("decode status patch: %w", err)
	}
	if len(body) == 0 {
		return nil, nil
	}
	body["metadata"] = map[string]any{"uid": base.UID}
	return json.Marshal(body)
}
