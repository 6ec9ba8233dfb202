package write

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// errNotCurrent ends an attempt whose View may lack what others have been told
// is written. The change is planned again on the newest View.
var errNotCurrent = errors.New("the view has to be current")

// Subject is what a request is about in the words of the API, for those who
// judge requests without knowing the types: webhooks and policies.
type Subject struct {
	Kind        schema.GroupVersionKind
	Resource    schema.GroupVersionResource
	Subresource string
	// Object and Old are of Kind, with their type filled in; nil where there is
	// none. Both are not to be changed.
	Object, Old runtime.Object
}

// Subject tells what the request is about in the version of a row of its kind.
// A subresource of its own kind, such as a Scale, is shown as that kind.
func (r *Request) Subject(as *kind.Kind) (Subject, error) {
	s := Subject{Kind: as.GVK, Resource: as.GVR(), Subresource: r.Subresource}
	if r.asked != nil {
		s.Kind, s.Object = r.asked.GetObjectKind().GroupVersionKind(), r.asked
		return s, nil
	}
	object, old := r.Object, r.Old
	var err error
	if r.Parameter != nil {
		sub := r.Kind.Subresources[r.Subresource]
		s.Kind, object, old = sub.GVK, r.Parameter, nil
		if r.Operation == OperationUpdate && sub.Get != nil {
			if old, err = sub.Get(r.Old); err != nil {
				return s, err
			}
			old.GetObjectKind().SetGroupVersionKind(sub.GVK)
		}
	} else {
		if object, err = inVersion(as, object); err != nil {
			return s, err
		}
		if old, err = inVersion(as, old); err != nil {
			return s, err
		}
	}
	// A nil object must not become an interface that is not nil.
	if object != nil {
		s.Object = object
	}
	if old != nil {
		s.Old = old
	}
	return s, nil
}

func inVersion(as *kind.Kind, o txn.Object) (txn.Object, error) {
	if o == nil {
		return nil, nil
	}
	return as.FromStored(o)
}

// Options are the options of the request as the API has them.
func (r *Request) Options() runtime.Object {
	var dryRun []string
	if r.DryRun {
		dryRun = []string{metav1.DryRunAll}
	}
	switch r.Operation {
	case OperationCreate:
		return &metav1.CreateOptions{TypeMeta: optionsType("CreateOptions"), DryRun: dryRun, FieldManager: r.FieldManager}
	case OperationUpdate:
		return &metav1.UpdateOptions{TypeMeta: optionsType("UpdateOptions"), DryRun: dryRun, FieldManager: r.FieldManager}
	case OperationDelete:
		o := metav1.DeleteOptions{}
		if r.Delete != nil {
			o = *r.Delete
		}
		o.TypeMeta, o.DryRun = optionsType("DeleteOptions"), dryRun
		return &o
	}
	return nil
}

func optionsType(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: kind}
}

// Current makes sure that the View has every acknowledged write, which matters
// to steps whose questions are better not asked twice. An error of it has to
// be returned as it is.
func (r *Request) Current() error {
	if r.attempt == nil {
		return nil
	}
	r.attempt.planned.slow = true
	if !r.attempt.fresh {
		return errNotCurrent
	}
	return nil
}

// RunAgain has the mutating steps up to this one run once more.
func (r *Request) RunAgain() { r.again = !r.Again }

// Keep leaves something for the step's later functions and second run.
func (r *Request) Keep(key string, value any) {
	if r.kept == nil {
		r.kept = map[string]any{}
	}
	r.kept[key] = value
}

// Kept is what was kept under the key; nil when nothing was.
func (r *Request) Kept(key string) any { return r.kept[key] }

// Replaceable tells whether there is an object that Replace can replace.
func (r *Request) Replaceable() bool { return r.attempt != nil && r.Object != nil }

// Replace puts another state, in JSON's shape and in the version that Subject
// showed, in the place of Subject's Object, and fills in its defaults. What
// only the server decides about stays as it is.
func (r *Request) Replace(as *kind.Kind, state map[string]any) error {
	a := r.attempt
	o, err := a.decodeAs(as, state)
	if err != nil {
		return err
	}
	if r.Parameter != nil {
		parameter := o
		if o, err = a.sub.Set(a.old, parameter, a.now); err != nil {
			return err
		}
		r.Parameter = parameter
	}
	if o.GetName() != r.Object.GetName() || o.GetNamespace() != r.Object.GetNamespace() {
		return apierrors.NewInternalError(fmt.Errorf("admission may not change the name or namespace of %s to %s/%s", a.change.Ref, o.GetNamespace(), o.GetName()))
	}
	keepServersOwn(o, r.Object)
	if a.kind.Default != nil {
		a.kind.Default(o)
	}
	r.Object = o
	return nil
}

// Patch applies a JSON patch to what Subject shows as Object, and replaces it
// by the outcome.
func (r *Request) Patch(as *kind.Kind, patch []byte) (changed bool, err error) {
	subject, err := r.Subject(as)
	if err != nil {
		return false, err
	}
	before, err := toMap(subject.Object.(txn.Object), subject.Kind)
	if err != nil {
		return false, err
	}
	after, err := jsonPatch(before, patch)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	was := r.Object
	if err := r.Replace(as, after); err != nil {
		return false, err
	}
	return !equality.Semantic.DeepEqual(was, r.Object), nil
}

// decodeAs decodes what another version of the kind, or the subresource's own
// kind, looks like in JSON; unknown fields are dropped.
func (a *attempt) decodeAs(as *kind.Kind, state map[string]any) (txn.Object, error) {
	served, validation := a.kind, a.change.FieldValidation
	a.kind, a.change.FieldValidation = as, metav1.FieldValidationIgnore
	defer func() { a.kind, a.change.FieldValidation = served, validation }()
	o, err := a.fromMap(state, a.target())
	if err != nil {
		return nil, err
	}
	return a.stored(o)
}

// keepServersOwn copies the metadata that only the server decides about.
func keepServersOwn(o, from txn.Object) {
	o.GetObjectKind().SetGroupVersionKind(from.GetObjectKind().GroupVersionKind())
	o.SetUID(from.GetUID())
	o.SetResourceVersion(from.GetResourceVersion())
	o.SetGeneration(from.GetGeneration())
	o.SetCreationTimestamp(from.GetCreationTimestamp())
	o.SetDeletionTimestamp(from.GetDeletionTimestamp())
	o.SetDeletionGracePeriodSeconds(from.GetDeletionGracePeriodSeconds())
	o.SetManagedFields(from.GetManagedFields())
}
