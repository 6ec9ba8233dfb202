package policy

import (
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission/match"
	"github.com/headway-sh/headway/apiserver/kind"
)

// paramKind is the row of a policy's params; nil when it has none.
func (j *judgement) paramKind(policy *admissionv1.ValidatingAdmissionPolicy) (*kind.Kind, error) {
	k := policy.Spec.ParamKind
	if k == nil {
		return nil, nil
	}
	row, ok := j.ByGVK(j.view, schema.FromAPIVersionAndKind(k.APIVersion, k.Kind))
	if !ok {
		return nil, fmt.Errorf("failed to find resource referenced by paramKind: '%v'", schema.FromAPIVersionAndKind(k.APIVersion, k.Kind))
	}
	return row, nil
}

// params are the objects that a binding has its policy evaluated with: one nil
// when it is evaluated without, none when it is not evaluated.
func (j *judgement) params(row *kind.Kind, binding *admissionv1.ValidatingAdmissionPolicyBinding) ([]runtime.Object, error) {
	ref := binding.Spec.ParamRef
	if row == nil || ref == nil {
		return []runtime.Object{nil}, nil
	}
	namespace := ref.Namespace
	switch {
	case !row.Namespaced && namespace != "":
		return nil, errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	case row.Namespaced && namespace == "":
		if namespace = j.request.Ref.Namespace; namespace == "" {
			return nil, errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
		}
	}
	var found []runtime.Object
	add := func(o txn.Object) error {
		j.request.Decide(row.Ref(o.GetNamespace(), o.GetName()))
		param, err := row.FromStored(o)
		if err == nil {
			found = append(found, param)
		}
		return err
	}
	if ref.Name != "" {
		if o, ok := j.view.Get(row.Ref(namespace, ref.Name)); ok {
			if err := add(o); err != nil {
				return nil, err
			}
		} else {
			j.request.Decide(row.Ref(namespace, ref.Name)) // that it is not there
		}
	} else {
		for o := range j.view.Each(row.Resource(), namespace) {
			if !match.Selector(ref.Selector, o.GetLabels()) {
				continue
			}
			if err := add(o); err != nil {
				return nil, err
			}
		}
	}
	if len(found) == 0 && ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == admissionv1.DenyAction {
		return nil, errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	return found, nil
}
