package policy

import (
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	admissionauthorizer "k8s.io/apiserver/pkg/admission/plugin/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission/match"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

// inquiry is one request before policies of either kind.
type inquiry struct {
	*Policies
	view       txn.View
	request    *write.Request
	authorizer authorizer.UnconditionalAuthorizer
}

func (p *Policies) inquire(view txn.View, r *write.Request) inquiry {
	return inquiry{p, view, r, admissionauthorizer.NewCachingAuthorizer(match.Authorizer(view, p.Authorizer))}
}

// paramRow is the row of a policy's params; nil when it has none.
func (j *inquiry) paramRow(k *admissionv1.ParamKind) (*kind.Kind, error) {
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
func (j *inquiry) params(row *kind.Kind, ref *admissionv1.ParamRef) ([]runtime.Object, error) {
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
