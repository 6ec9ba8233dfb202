package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/failpoint"
)

// maxBatch keeps a bind batch far below what a transaction may hold.
const maxBatch = 1000

// bind is a decision on its way to the API.
type bind struct {
	pod  *corev1.Pod
	node string
}

// together are binds that are ready: each by itself, or all of a gang or none.
type together struct {
	binds []bind
	gang  bool
}

// bind commits batch after batch until ctx ends or the epoch is over.
func (s *Scheduler) bind(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.binds.ready:
		}
		for taken := s.binds.take(maxBatch); len(taken) > 0; taken = s.binds.take(maxBatch) {
			var singles []bind
			for _, t := range taken {
				if !t.gang {
					for _, b := range t.binds {
						if len(s.extensionsOf(b.pod).Bind) > 0 {
							s.ownBinds.add(b)
							continue
						}
						singles = append(singles, b)
					}
					continue
				}
				if err := s.flush(ctx, t.binds, true); err != nil || ctx.Err() != nil {
					return err
				}
			}
			for batch := range slices.Chunk(singles, maxBatch) {
				if err := s.flush(ctx, batch, false); err != nil || ctx.Err() != nil {
					return err
				}
			}
		}
	}
}

// flush commits one batch and tells the loop what became of it. An error ends
// the run.
func (s *Scheduler) flush(ctx context.Context, batch []bind, gang bool) error {
	errs, err := s.commit(ctx, batch, gang)
	if ctx.Err() != nil {
		return nil
	}
	if errors.Is(err, txn.ErrEpoch) {
		return err
	}
	if err != nil {
		s.log.Warn("bind batch", "pods", len(batch), "err", err)
	}
	messages := make([]message, len(batch))
	for i, b := range batch {
		result := err
		if result == nil {
			result = errs[i]
		}
		if apierrors.IsForbidden(result) {
			// The event about it may be forbidden as well.
			s.log.Warn("bind forbidden", "pod", b.pod.Namespace+"/"+b.pod.Name, "err", result)
		}
		messages[i] = func(s *Scheduler) { s.bound(b, result) }
	}
	s.inbox.put(messages...)
	return nil
}

// commit binds the pods of a batch, each on its own conditions, or all of a
// gang or none. The errors are by index; the last one is about the whole batch.
func (s *Scheduler) commit(ctx context.Context, batch []bind, gang bool) ([]error, error) {
	if err := failpoint.Hit(ctx, "scheduler.bind.before"); err != nil {
		return nil, err
	}
	errs := make([]error, len(batch))
	if s.config.Txn == nil {
		for i, b := range batch {
			errs[i] = s.config.Client.SubResource("binding").Create(ctx, b.pod.DeepCopy(), binding(b))
		}
		return errs, nil
	}
	changes := make([]txn.Change, len(batch))
	for i, b := range batch {
		changes[i] = txn.Change{
			Verb: txn.Create, Subresource: "binding", Version: "v1", Object: binding(b),
			Ref: txn.Ref{Resource: schema.GroupResource{Resource: "pods"}, Namespace: b.pod.Namespace, Name: b.pod.Name},
		}
	}
	options := txn.CommitOptions{Epoch: s.config.Epoch, Independent: !gang}
	plan, done, err := txn.Run(ctx, s.config.Txn, s.config.Identity, options, func(txn.View) ([]txn.Change, error) { return changes, nil })
	if gang && plan != nil && plan.Err() != nil {
		return eachItsOwn(plan.Outcomes), nil
	}
	if err != nil {
		return nil, fmt.Errorf("commit binds: %w", err)
	}
	for i := range batch {
		if errs[i] = plan.Outcomes[i].Err; errs[i] == nil {
			errs[i] = done.Failed[i]
		}
	}
	return errs, nil
}

// eachItsOwn are the errors of a gang that could not be planned: a member that
// has gone must not make the others seem to have gone, too.
func eachItsOwn(outcomes []txn.Outcome) []error {
	errs := make([]error, len(outcomes))
	var why error
	for i, o := range outcomes {
		if errs[i] = o.Err; o.Err != nil && why == nil {
			why = fmt.Errorf("%s: %w", o.Change.Ref, o.Err)
		}
	}
	for i := range errs {
		if errs[i] == nil {
			errs[i] = fmt.Errorf("another of the gang: %v", why) // no %w: it is not this pod's
		}
	}
	return errs
}

func binding(b bind) *corev1.Binding {
	return &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.pod.Namespace, Name: b.pod.Name, UID: b.pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: b.node},
	}
}

// gone tells whether a lost bind need not be tried again: the pod has gone.
func gone(err error) bool { return apierrors.IsNotFound(err) }
