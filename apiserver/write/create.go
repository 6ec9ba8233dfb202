package write

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
)

const (
	// generatedBase is how much of generateName is kept before the suffix.
	generatedBase = 58
	// generateTries bounds the search for a generated name that is free.
	generateTries = 8
)

func (a *attempt) create(ctx context.Context) error {
	o, err := a.decode(a.change.Object)
	if err != nil {
		return err
	}
	if o.GetResourceVersion() != "" {
		return apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if o.GetNamespace() == "" {
		o.SetNamespace(a.change.Ref.Namespace)
	} else if o.GetNamespace() != a.change.Ref.Namespace {
		return errNamespace(o.GetNamespace(), a.change.Ref.Namespace)
	}
	if a.change.Ref.Name != "" && o.GetName() == "" {
		o.SetName(a.change.Ref.Name)
	}
	if o.GetName() != a.change.Ref.Name {
		return a.sameName(o)
	}
	a.system(o)
	return a.insert(ctx, o, func() error {
		return a.path.Fields.Update(a.kind.Stored(), nil, o, a.writer())
	})
}

// system fills in the metadata that only the server decides about.
func (a *attempt) system(o txn.Object) {
	o.SetUID(a.path.NewUID())
	o.SetCreationTimestamp(metav1.Time{Time: a.now.UTC().Truncate(1e9)})
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	o.SetSelfLink("")
	o.SetGeneration(0)
	if o.GetName() == "" && o.GetGenerateName() != "" {
		a.generate(o)
	}
}

// generate gives the object a name that is free on the View.
func (a *attempt) generate(o txn.Object) {
	base := o.GetGenerateName()
	base = base[:min(len(base), generatedBase)]
	for range generateTries {
		o.SetName(base + a.path.NewSuffix())
		a.change.Ref.Name = o.GetName()
		if a.old, _ = a.view.Get(a.change.Ref); a.old == nil {
			return
		}
	}
}

// insert brings a new object, whose managedFields own writes, through the
// rest of the pipeline.
func (a *attempt) insert(ctx context.Context, o txn.Object, own func() error) error {
	existing := a.old
	a.old = nil
	if a.kind.Default != nil {
		a.kind.Default(o)
	}
	if err := own(); err != nil {
		return fmt.Errorf("update managed fields: %w", err)
	}
	r := a.request(OperationCreate, o)
	if err := a.mutate(ctx, r); err != nil {
		return err
	}
	o = r.Object
	a.reshape(o)
	if a.kind.Prepare != nil {
		a.kind.Prepare(o, nil)
	}
	errs := a.kind.ValidateMeta(o, nil)
	if a.kind.Validate != nil {
		errs = append(errs, a.kind.Validate(o, nil)...)
	}
	if err := a.invalid(o, errs); err != nil {
		return err
	}
	if a.kind.Warnings != nil {
		a.warn(a.kind.Warnings(o, nil)...)
	}
	if err := a.validate(ctx, r); err != nil {
		return err
	}
	if existing != nil {
		return a.exists(existing)
	}
	a.planned.outcome.Operation, a.planned.outcome.Before, a.planned.outcome.After = txn.Created, nil, o
	return nil
}

// reshape prunes and defaults a custom resource again, which steps may have
// given what its schema does not know.
func (a *attempt) reshape(o txn.Object) {
	if a.kind.Shape != nil {
		a.kind.Default(o)
	}
}

func (a *attempt) exists(existing txn.Object) error {
	err := apierrors.NewAlreadyExists(a.kind.Served(), a.change.Ref.Name)
	if existing.GetDeletionTimestamp() != nil {
		err.ErrStatus.Message = "object is being deleted: " + err.ErrStatus.Message
	}
	return err
}

func (a *attempt) invalid(o txn.Object, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(a.kind.GVK.GroupKind(), o.GetName(), errs)
}

// createSubresource folds a posted parameter, such as a Binding, into the
// stored object.
func (a *attempt) createSubresource(ctx context.Context) error {
	if a.sub.Set == nil {
		return apierrors.NewMethodNotSupported(a.kind.Served(), "create")
	}
	parameter, err := a.decode(a.change.Object)
	if err != nil {
		return err
	}
	if parameter.GetName() == "" {
		parameter.SetName(a.change.Ref.Name)
	}
	if err := a.sameName(parameter); err != nil {
		return err
	}
	if a.old == nil {
		return a.notFound()
	}
	if uid := parameter.GetUID(); uid != "" && uid != a.old.GetUID() {
		return a.conflict("Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, a.old.GetUID())
	}
	if err := a.preconditions(parameter.GetResourceVersion()); err != nil {
		return err
	}
	o, err := a.sub.Set(a.old, parameter, a.now)
	if err != nil {
		return err
	}
	r := a.request(OperationCreate, o)
	r.Parameter = parameter
	if err := a.mutate(ctx, r); err != nil {
		return err
	}
	o = r.Object
	if err := a.check(o); err != nil {
		return err
	}
	if err := a.validate(ctx, r); err != nil {
		return err
	}
	a.settle(o)
	return nil
}

// preparer and validator are the functions for a write: the subresource's own
// ones replace the kind's.
func (a *attempt) preparer() func(o, old txn.Object) {
	if a.sub != nil && a.sub.Prepare != nil {
		return a.sub.Prepare
	}
	return a.kind.Prepare
}

func (a *attempt) validator() func(o, old txn.Object) field.ErrorList {
	if a.sub != nil && a.sub.Validate != nil {
		return a.sub.Validate
	}
	return a.kind.Validate
}
