package match

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

var namespaces = schema.GroupResource{Resource: "namespaces"}

// Selector tells whether a stored label selector selects the labels; nil
// selects everything.
func Selector(s *metav1.LabelSelector, labels map[string]string) bool {
	if s == nil {
		return true
	}
	for key, value := range s.MatchLabels {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	for i := range s.MatchExpressions {
		e := &s.MatchExpressions[i]
		value, ok := labels[e.Key]
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			ok = ok && slices.Contains(e.Values, value)
		case metav1.LabelSelectorOpNotIn:
			ok = !ok || !slices.Contains(e.Values, value)
		case metav1.LabelSelectorOpDoesNotExist:
			ok = !ok
		}
		if !ok {
			return false
		}
	}
	return true
}

func empty(s *metav1.LabelSelector) bool {
	return s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0
}

// Namespace tells whether a selector selects the namespace that the request is
// in; requests outside of namespaces are always selected. A namespace itself is
// judged by its own labels. The error is a 404: the namespace is not there.
func Namespace(view txn.View, r *write.Request, s *metav1.LabelSelector) (bool, error) {
	if empty(s) {
		return true, nil
	}
	if r.Ref.Resource == namespaces && r.Subresource == "" && r.Object != nil {
		return Selector(s, r.Object.GetLabels()), nil
	}
	name := r.Ref.Namespace
	if r.Ref.Resource == namespaces {
		name = r.Ref.Name
	}
	if name == "" {
		return true, nil
	}
	o, ok := view.Get(txn.Ref{Resource: namespaces, Name: name})
	if !ok {
		return false, apierrors.NewNotFound(namespaces, name)
	}
	return Selector(s, o.GetLabels()), nil
}

// Object tells whether a selector selects the object of the request as it is
// or as it was. What has no labels is selected only by what selects everything.
func Object(r *write.Request, s *metav1.LabelSelector) bool {
	if empty(s) {
		return true
	}
	object := r.Object
	if r.Parameter != nil {
		object = r.Parameter
	}
	return object != nil && Selector(s, object.GetLabels()) || r.Old != nil && Selector(s, r.Old.GetLabels())
}

// NamespaceObject is the namespace that a request is in; nil for requests
// outside of namespaces.
func NamespaceObject(view txn.View, r *write.Request) (*corev1.Namespace, error) {
	if !r.Kind.Namespaced {
		return nil, nil
	}
	o, ok := view.Get(txn.Ref{Resource: namespaces, Name: r.Ref.Namespace})
	if !ok {
		return nil, apierrors.NewNotFound(namespaces, r.Ref.Namespace)
	}
	return o.(*corev1.Namespace), nil
}
