package write

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// decode gives a private copy of what the change carries, as the kind's
// storage type, or as the subresource's own type when it has one.
func (a *attempt) decode(o txn.Object) (txn.Object, error) {
	if o == nil {
		return nil, apierrors.NewBadRequest("the request has no object")
	}
	out, err := a.typed(o)
	if err != nil {
		return nil, err
	}
	return a.stored(out)
}

// stored gives a decoded object in the storage version.
func (a *attempt) stored(o txn.Object) (txn.Object, error) {
	if a.target() != a.kind.GVK {
		return o, nil // a subresource's own kind
	}
	return a.kind.ToStored(o)
}

// typed gives a private copy of an object as the type that the change is about.
func (a *attempt) typed(o txn.Object) (txn.Object, error) {
	gvk := a.target()
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		out := o.DeepCopyObject().(txn.Object)
		out.GetObjectKind().SetGroupVersionKind(gvk)
		return out, nil
	}
	if got := u.GroupVersionKind(); got.Kind != "" && got.GroupKind() != gvk.GroupKind() {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s %s cannot be handled as a %s", got.GroupVersion(), got.Kind, gvk.Kind))
	}
	return a.fromMap(u.Object, gvk)
}

// target is the type that the change is about.
func (a *attempt) target() schema.GroupVersionKind {
	if a.sub != nil && a.sub.GVK.Kind != "" {
		return a.sub.GVK
	}
	return a.kind.GVK
}

func (a *attempt) empty(gvk schema.GroupVersionKind) (txn.Object, error) {
	if gvk == a.kind.GVK {
		return a.kind.New(), nil
	}
	o, err := a.path.Scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", gvk, err)
	}
	out, ok := o.(txn.Object)
	if !ok {
		return nil, fmt.Errorf("%s has no metadata", gvk)
	}
	return out, nil
}

// fromMap converts JSON's shape to the type, and deals with fields that the
// type does not have as the change's field validation says.
func (a *attempt) fromMap(from map[string]any, gvk schema.GroupVersionKind) (txn.Object, error) {
	out, err := a.empty(gvk)
	if err != nil {
		return nil, err
	}
	if u, ok := out.(*unstructured.Unstructured); ok {
		u.Object = runtime.DeepCopyJSON(from)
		return u, a.accept(u)
	}
	validation := a.change.FieldValidation
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(from, out, validation != metav1.FieldValidationIgnore)
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		switch {
		case validation == metav1.FieldValidationWarn:
		case a.change.Verb == txn.Patch:
			return nil, a.invalidPatch(err)
		default:
			return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, gvk.Kind, err))
		}
		for _, e := range strict.Errors() {
			a.warn(e.Error())
		}
	} else if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, gvk.Kind, err))
	}
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out, nil
}

// accept brings a custom resource into its kind's shape, and deals with fields
// that the kind does not have as the change's field validation says.
func (a *attempt) accept(u *unstructured.Unstructured) error {
	gvk := a.kind.GVK
	if got := u.GroupVersionKind(); got.Kind != gvk.Kind || got.Group != gvk.Group {
		return apierrors.NewBadRequest(fmt.Sprintf("%s %s cannot be handled as a %s", got.GroupVersion(), got.Kind, gvk.Kind))
	}
	u.SetGroupVersionKind(gvk)
	if a.kind.Accept == nil {
		return nil
	}
	unknown, err := a.kind.Accept(u)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	problems := make([]error, 0, len(unknown))
	for _, path := range unknown {
		problems = append(problems, fmt.Errorf("unknown field %q", path))
	}
	switch a.change.FieldValidation {
	case metav1.FieldValidationIgnore:
	case metav1.FieldValidationWarn:
		for _, p := range problems {
			a.warn(p.Error())
		}
	default:
		if len(problems) > 0 {
			return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, gvk.Kind, runtime.NewStrictDecodingError(problems)))
		}
	}
	return nil
}

// toMap is an object in JSON's shape.
func toMap(o txn.Object, gvk schema.GroupVersionKind) (map[string]any, error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return runtime.DeepCopyJSON(u.Object), nil
	}
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", gvk, err)
	}
	m["apiVersion"], m["kind"] = gvk.GroupVersion().String(), gvk.Kind
	return m, nil
}

// sameName refuses an object that is not the one the request's path names, and
// gives it the path's namespace when it has none.
func (a *attempt) sameName(o txn.Object) error {
	ref := a.change.Ref
	switch {
	case o.GetName() != ref.Name:
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", o.GetName(), ref.Name))
	case o.GetNamespace() == "":
		o.SetNamespace(ref.Namespace)
	case o.GetNamespace() != ref.Namespace:
		return errNamespace(o.GetNamespace(), ref.Namespace)
	}
	return nil
}

func errNamespace(got, want string) error {
	return apierrors.NewBadRequest(fmt.Sprintf("the namespace of the provided object does not match the namespace sent on the request (%q, %q)", got, want))
}

// conflict is the 409 of Kubernetes.
func (a *attempt) conflict(format string, args ...any) error {
	return apierrors.NewConflict(a.kind.Served(), a.change.Ref.Name, fmt.Errorf(format, args...))
}

var errModified = errors.New("the object has been modified; please apply your changes to the latest version and try again")

func (a *attempt) notFound() error {
	return apierrors.NewNotFound(a.kind.Served(), a.change.Ref.Name)
}
