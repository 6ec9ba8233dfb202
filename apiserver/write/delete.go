package write

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func (a *attempt) delete(ctx context.Context) error {
	if a.old == nil {
		return a.notFound()
	}
	if err := a.preconditions(""); err != nil {
		return err
	}
	options := &metav1.DeleteOptions{
		GracePeriodSeconds: a.change.GracePeriod, PropagationPolicy: a.change.Propagation, Preconditions: a.change.Preconditions,
	}
	if options.GracePeriodSeconds != nil && *options.GracePeriodSeconds < 0 {
		options.GracePeriodSeconds = ptr.To[int64](1)
	}
	r := a.request(OperationDelete, nil)
	r.Delete = options
	if err := a.mutate(ctx, r); err != nil {
		return err
	}
	if err := a.validate(ctx, r); err != nil {
		return err
	}
	outcome := &a.planned.outcome
	outcome.After = deletion(a.kind, a.old, options, metav1.Time{Time: a.now.UTC().Truncate(1e9)})
	switch outcome.After {
	case nil:
		outcome.Operation = txn.Deleted
		return a.gone(ctx)
	case a.old:
		outcome.Operation = txn.Unchanged
	default:
		outcome.Operation = txn.Terminating
	}
	return nil
}

// deletion is what a DELETE leaves: nil when the object goes at once, old
// itself when nothing changes, else the terminating object.
//
//	            no grace, no finalizers
//	live ────────────────────────────────▶ gone
//	 │ grace            │ finalizers        ▲
//	 ▼                  ▼                   │
//	terminating, grace n ──▶ terminating, grace 0
//	               shorter or 0      last finalizer removed
func deletion(k *kind.Kind, old txn.Object, options *metav1.DeleteOptions, now metav1.Time) txn.Object {
	grace := old.GetDeletionGracePeriodSeconds()
	pending := old.GetDeletionTimestamp() != nil && grace != nil && *grace > 0
	if pending {
		if options.GracePeriodSeconds == nil || *options.GracePeriodSeconds >= *grace {
			return old // it may only become shorter
		}
		o := copyOf(old)
		began := old.GetDeletionTimestamp().Add(-seconds(*grace))
		o.SetDeletionTimestamp(&metav1.Time{Time: began.Add(seconds(*options.GracePeriodSeconds))})
		o.SetDeletionGracePeriodSeconds(options.GracePeriodSeconds)
		o.SetFinalizers(finalizers(old.GetFinalizers(), options))
		if *options.GracePeriodSeconds == 0 && len(o.GetFinalizers()) == 0 {
			return nil
		}
		return o
	}
	if old.GetDeletionTimestamp() != nil {
		return stillDeleting(k, old, options)
	}
	return beginDeletion(k, old, options, now)
}

// stillDeleting is what another DELETE does to an object without grace left.
func stillDeleting(k *kind.Kind, old txn.Object, options *metav1.DeleteOptions) txn.Object {
	left := finalizers(old.GetFinalizers(), options)
	switch {
	case len(left) == 0 && !held(k, old):
		return nil
	case slices.Equal(left, old.GetFinalizers()):
		return old
	}
	o := copyOf(old)
	o.SetFinalizers(left)
	return o
}

func beginDeletion(k *kind.Kind, old txn.Object, options *metav1.DeleteOptions, now metav1.Time) txn.Object {
	var decision kind.Deletion
	if k.Delete != nil {
		decision = k.Delete(old, options, now.Time)
	}
	o := decision.Changed
	if o == nil {
		o = copyOf(old)
	}
	o.SetFinalizers(finalizers(o.GetFinalizers(), options))
	waits := decision.Changed != nil || len(o.GetFinalizers()) > 0 || held(k, old)
	switch {
	case decision.Graceful && (decision.GracePeriodSeconds > 0 || waits):
		terminate(o, metav1.Time{Time: now.Add(seconds(decision.GracePeriodSeconds))}, decision.GracePeriodSeconds)
	case !waits:
		return nil
	case o.GetDeletionTimestamp() == nil:
		terminate(o, now, 0)
	}
	return o
}

// held tells whether the kind itself keeps an object that is being deleted.
func held(k *kind.Kind, o txn.Object) bool { return k.Held != nil && k.Held(o) }

// terminate marks an object whose deletion begins.
func terminate(o txn.Object, until metav1.Time, grace int64) {
	o.SetDeletionTimestamp(&until)
	o.SetDeletionGracePeriodSeconds(&grace)
	if o.GetGeneration() > 0 {
		o.SetGeneration(o.GetGeneration() + 1)
	}
}

// finalizers adds and removes the garbage collector's finalizers as the
// propagation policy says; without one, what the object has counts.
func finalizers(have []string, options *metav1.DeleteOptions) []string {
	orphan := slices.Contains(have, metav1.FinalizerOrphanDependents)
	foreground := slices.Contains(have, metav1.FinalizerDeleteDependents) && !orphan
	if policy := options.PropagationPolicy; policy != nil {
		orphan = *policy == metav1.DeletePropagationOrphan
		foreground = *policy == metav1.DeletePropagationForeground
	}
	out := slices.DeleteFunc(slices.Clone(have), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	if orphan {
		out = append(out, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		out = append(out, metav1.FinalizerDeleteDependents)
	}
	return out
}
