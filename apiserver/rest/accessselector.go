package rest

import (
	"errors"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Reviews may come from a client that is newer than this server: an operator
// that it does not know is no error, and narrows nothing.
var (
	anyFieldOperator = validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
	anyLabelOperator = validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
)

func validateFieldSelector(at *field.Path, s *authorizationv1.FieldSelectorAttributes) field.ErrorList {
	if s == nil {
		return nil
	}
	errs := validateForm(at, s.RawSelector, len(s.Requirements))
	for i, r := range s.Requirements {
		errs = append(errs, validation.ValidateFieldSelectorRequirement(r, anyFieldOperator, at.Child("requirements").Index(i))...)
	}
	return errs
}

func validateLabelSelector(at *field.Path, s *authorizationv1.LabelSelectorAttributes) field.ErrorList {
	if s == nil {
		return nil
	}
	errs := validateForm(at, s.RawSelector, len(s.Requirements))
	for i, r := range s.Requirements {
		errs = append(errs, validation.ValidateLabelSelectorRequirement(r, anyLabelOperator, at.Child("requirements").Index(i))...)
	}
	return errs
}

// validateForm wants a text or requirements, and not both.
func validateForm(at *field.Path, raw string, requirements int) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(at.Child("rawSelector"), raw, "may not be specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(at.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", at))}
	}
	return nil
}

// fieldSelectorText is a selector as a list's query has it. What cannot be
// said so is left out, with an error.
func fieldSelectorText(s *authorizationv1.FieldSelectorAttributes) (string, error) {
	if s == nil {
		return "", nil
	}
	if s.RawSelector != "" {
		parsed, err := fields.ParseSelector(s.RawSelector)
		if err != nil {
			return "", err
		}
		return parsed.String(), nil
	}
	var terms []string
	var failed []error
	for _, r := range s.Requirements {
		switch {
		case r.Operator != metav1.FieldSelectorOpIn && r.Operator != metav1.FieldSelectorOpNotIn:
			failed = append(failed, fmt.Errorf("operator %q is not supported", r.Operator))
		case len(r.Values) > 1:
			failed = append(failed, fmt.Errorf("%s: several values are not supported", r.Key))
		case r.Operator == metav1.FieldSelectorOpIn:
			terms = append(terms, fields.OneTermEqualSelector(r.Key, r.Values[0]).String())
		default:
			terms = append(terms, fields.OneTermNotEqualSelector(r.Key, r.Values[0]).String())
		}
	}
	return strings.Join(terms, ","), errors.Join(failed...)
}

// labelOperators are those of requirements as selectors have them.
var labelOperators = map[metav1.LabelSelectorOperator]selection.Operator{
	metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
	metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
}

// labelSelectorText is the same for labels.
func labelSelectorText(s *authorizationv1.LabelSelectorAttributes) (string, error) {
	if s == nil {
		return "", nil
	}
	if s.RawSelector != "" {
		parsed, err := labels.Parse(s.RawSelector)
		if err != nil {
			return "", err
		}
		return parsed.String(), nil
	}
	all := labels.NewSelector()
	var failed []error
	for _, r := range s.Requirements {
		operator, ok := labelOperators[r.Operator]
		if !ok {
			failed = append(failed, fmt.Errorf("operator %q is not supported", r.Operator))
			continue
		}
		one, err := labels.NewRequirement(r.Key, operator, r.Values)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		all = all.Add(*one)
	}
	return all.String(), errors.Join(failed...)
}
