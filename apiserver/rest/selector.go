package rest

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

const (
	fieldName      = "metadata.name"
	fieldNamespace = "metadata.namespace"
)

// selector is what a list or watch is narrowed down to.
type selector struct {
	kind   *kind.Kind
	labels labels.Selector
	fields fields.Selector
	// namespace and name are what the path and the field selector pin down;
	// empty when they do not.
	namespace, name string
	// index and value find the candidates without looking at every object.
	index, value string
}

// newSelector parses the two selector parameters. name is the path's, for
// watches on a single object.
func newSelector(k *kind.Kind, namespace, name, labelText, fieldText string) (*selector, error) {
	s := &selector{kind: k, namespace: namespace, labels: labels.Everything(), fields: fields.Everything()}
	var err error
	if labelText != "" {
		if s.labels, err = labels.Parse(labelText); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	if fieldText != "" {
		if s.fields, err = fields.ParseSelector(fieldText); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	for _, requirement := range s.fields.Requirements() {
		if err := checkField(k, requirement.Field); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	if value, ok := s.fields.RequiresExactMatch(fieldName); ok {
		s.name = value
	}
	if name != "" {
		if !s.fields.Empty() && s.name != name {
			return nil, apierrors.NewBadRequest("fieldSelector metadata.name doesn't match requested name")
		}
		s.name = name
	}
	if value, ok := s.fields.RequiresExactMatch(fieldNamespace); ok && k.Namespaced && namespace == "" {
		s.namespace = value
	}
	for index := range k.Indexes {
		if value, ok := s.fields.RequiresExactMatch(index); ok && k.Fields[index] != nil {
			s.index, s.value = index, value
			break
		}
	}
	return s, nil
}

func checkField(k *kind.Kind, label string) error {
	if label == fieldName || (label == fieldNamespace && k.Namespaced) || k.Fields[label] != nil {
		return nil
	}
	if len(k.Fields) > 0 {
		return fmt.Errorf("field label not supported: %s", label)
	}
	return fmt.Errorf("%q is not a known field selector: only %q, %q", label, fieldName, fieldNamespace)
}

// everything tells that the selector lets all objects of its namespace pass.
func (s *selector) everything() bool {
	return s.labels.Empty() && s.fields.Empty() && s.name == ""
}

// matches tells whether an object passes, whatever led to it.
func (s *selector) matches(o txn.Object) bool {
	if s.name != "" && o.GetName() != s.name {
		return false
	}
	if s.namespace != "" && o.GetNamespace() != s.namespace {
		return false
	}
	if !s.labels.Empty() && !s.labels.Matches(labels.Set(o.GetLabels())) {
		return false
	}
	for _, r := range s.fields.Requirements() {
		equal := s.field(o, r.Field) == r.Value
		if equal != (r.Operator != "!=") {
			return false
		}
	}
	return true
}

func (s *selector) field(o txn.Object, label string) string {
	switch label {
	case fieldName:
		return o.GetName()
	case fieldNamespace:
		return o.GetNamespace()
	}
	return s.kind.Fields[label](o)
}
