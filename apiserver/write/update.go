package write

import (
	"context"
	"fmt"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
)

func (a *attempt) update(ctx context.Context) error {
	o, err := a.decode(a.change.Object)
	if err != nil {
		return err
	}
	if err := a.sameName(o); err != nil {
		return err
	}
	if a.old == nil {
		return a.notFound()
	}
	return a.replace(ctx, o)
}

// replace brings what a writer wants in place of the stored object, or of the
// subresource's own kind, through the rest of the pipeline.
func (a *attempt) replace(ctx context.Context, o txn.Object) error {
	if err := a.preconditions(o.GetResourceVersion()); err != nil {
		return err
	}
	if uid := o.GetUID(); uid != "" && uid != a.old.GetUID() {
		return a.conflict("Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, a.old.GetUID())
	}
	var parameter txn.Object
	if a.sub != nil && a.sub.Set != nil {
		parameter = o
		var err error
		if o, err = a.sub.Set(a.old, parameter, a.now); err != nil {
			return err
		}
	}
	own := func() error { return a.path.Fields.Update(a.kind.Stored(), a.old, o, a.writer()) }
	return a.modify(ctx, o, parameter, own)
}

// preconditions compares what the change and the object it carries say about
// the stored object.
func (a *attempt) preconditions(resourceVersion string) error {
	if pre := a.change.Preconditions; pre != nil {
		if pre.UID != nil && *pre.UID != a.old.GetUID() {
			return a.conflict("Precondition failed: UID in precondition: %v, UID in object meta: %v", *pre.UID, a.old.GetUID())
		}
		if pre.ResourceVersion != nil && *pre.ResourceVersion != a.old.GetResourceVersion() {
			return a.conflict("Precondition failed: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v", *pre.ResourceVersion, a.old.GetResourceVersion())
		}
	}
	if resourceVersion != "" && resourceVersion != "0" && resourceVersion != a.old.GetResourceVersion() {
		return apierrors.NewConflict(a.kind.Served(), a.change.Ref.Name, errModified)
	}
	return nil
}

// modify brings a private object that is to replace the stored one through
// defaulting, ownership, admission and validation.
func (a *attempt) modify(ctx context.Context, o, parameter txn.Object, own func() error) error {
	a.inherit(o)
	if a.kind.Default != nil {
		a.kind.Default(o)
	}
	if err := own(); err != nil {
		return fmt.Errorf("update managed fields: %w", err)
	}
	r := a.request(OperationUpdate, o)
	r.Parameter = parameter
	if err := a.mutate(ctx, r); err != nil {
		return err
	}
	o = r.Object
	a.reshape(o)
	if err := a.check(o); err != nil {
		return err
	}
	if a.kind.Warnings != nil && a.sub == nil {
		a.warn(a.kind.Warnings(o, a.old)...)
	}
	if err := a.validate(ctx, r); err != nil {
		return err
	}
	if a.completesDeletion(o) {
		a.planned.outcome.Operation, a.planned.outcome.After = txn.Deleted, nil
		return a.gone(ctx)
	}
	a.settle(o)
	return nil
}

// check prepares what is to replace the stored object and validates it.
func (a *attempt) check(o txn.Object) error {
	if prepare := a.preparer(); prepare != nil {
		prepare(o, a.old)
	}
	errs := a.validateMeta(o)
	if validate := a.validator(); validate != nil {
		errs = append(errs, validate(o, a.old)...)
	}
	return a.invalid(o, errs)
}

// settle makes the outcome of what replaces the stored object.
func (a *attempt) settle(o txn.Object) {
	outcome := &a.planned.outcome
	if len(a.planned.extra) == 0 && same(o, a.old) {
		outcome.Operation, outcome.After = txn.Unchanged, a.old
		return
	}
	outcome.Operation, outcome.After = txn.Updated, o
}

// same tells whether writing an object would change nothing. Where the lengths
// of the encodings differ the bytes do, and that is what decides in Kubernetes.
func same(o, old txn.Object) bool {
	type sized interface{ Size() int }
	x, ok := o.(sized)
	y, also := old.(sized)
	return (!ok || !also || x.Size() == y.Size()) && apiequality.Semantic.DeepEqual(o, old)
}

// inherit takes from the stored object what the writer may leave out or never
// decides about.
func (a *attempt) inherit(o txn.Object) {
	o.SetResourceVersion(a.old.GetResourceVersion())
	o.SetGeneration(a.old.GetGeneration())
	o.SetSelfLink("")
	o.GetObjectKind().SetGroupVersionKind(a.kind.Stored().GVK)
	if o.GetUID() == "" {
		o.SetUID(a.old.GetUID())
	}
	if created := o.GetCreationTimestamp(); created.IsZero() {
		o.SetCreationTimestamp(a.old.GetCreationTimestamp())
	}
	if o.GetDeletionTimestamp() == nil {
		o.SetDeletionTimestamp(a.old.GetDeletionTimestamp())
	}
	if o.GetDeletionGracePeriodSeconds() == nil {
		o.SetDeletionGracePeriodSeconds(a.old.GetDeletionGracePeriodSeconds())
	}
}

// validateMeta checks the common metadata of an update.
func (a *attempt) validateMeta(o txn.Object) field.ErrorList {
	if o.GetResourceVersion() == "" {
		// Both are only planned; what checks updates wants some version.
		o.SetResourceVersion("0")
		defer o.SetResourceVersion("")
	}
	return a.kind.ValidateMeta(o, a.old)
}

// completesDeletion tells whether an update takes away the last thing that a
// begun deletion was waiting for.
func (a *attempt) completesDeletion(o txn.Object) bool {
	if len(o.GetFinalizers()) > 0 || a.old.GetDeletionTimestamp() == nil || held(a.kind, o) {
		return false
	}
	grace := a.old.GetDeletionGracePeriodSeconds()
	return grace == nil || *grace == 0
}
