package custom

import (
	"fmt"
	"math"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	apivalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"

	"github.com/headway-sh/headway/api/txn"
)

// validate checks a whole object; against old (nil on create) what an update
// may have left wrong is not held against it.
func (v *version) validate(o, old txn.Object) field.ErrorList {
	compiled, err := v.schema.validators()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	now, then := content(o), content(old)
	var errs field.ErrorList
	var ratchet *common.CorrelatedObject
	if then == nil {
		errs = apivalidation.ValidateCustomResource(nil, now, compiled.whole)
	} else {
		ratchet = common.NewCorrelatedObject(now, then, &model.Structural{Structural: v.schema.structural})
		errs = apivalidation.ValidateCustomResourceUpdate(nil, now, then, compiled.whole, apivalidation.WithRatcheting(ratchet))
	}
	errs = append(errs, v.checkScale(now, true)...)
	errs = append(errs, v.checkLists(now, then)...)
	return append(errs, v.checkRules(compiled.rules, now, then, ratchet, errs)...)
}

// validateStatus checks a write through the status subresource.
func (v *version) validateStatus(o, old txn.Object) field.ErrorList {
	compiled, err := v.schema.validators()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	now, then := content(o), content(old)
	ratchet := common.NewCorrelatedObject(now, then, &model.Structural{Structural: v.schema.structural})
	var errs field.ErrorList
	if status, ok := now["status"]; ok && compiled.status != nil {
		errs = apivalidation.ValidateCustomResourceUpdate(field.NewPath("status"), status, then["status"], compiled.status,
			apivalidation.WithRatcheting(ratchet.Key("status")))
	}
	errs = append(errs, v.checkScale(now, false)...)
	errs = append(errs, v.checkLists(now, then)...)
	return append(errs, v.checkRules(compiled.rules, now, then, ratchet, errs)...)
}

// checkLists checks embedded objects and the keys of lists.
func (v *version) checkLists(now, then map[string]any) field.ErrorList {
	s := v.schema.structural
	errs := objectmeta.Validate(background, nil, now, s, false)
	if then == nil || len(listtype.ValidateListSetsAndMaps(nil, s, then)) == 0 {
		errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s, now)...)
	}
	return errs
}

// checkRules evaluates the schema's rules, unless what they would look at may
// not be of the types that they expect.
func (v *version) checkRules(rules *cel.Validator, now, then map[string]any, ratchet *common.CorrelatedObject, errs field.ErrorList) field.ErrorList {
	if rules == nil {
		return nil
	}
	for _, e := range errs {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return field.ErrorList{field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation")}
		}
	}
	var found field.ErrorList
	if then == nil {
		found, _ = rules.Validate(background, nil, v.schema.structural, now, nil, celconfig.RuntimeCELCostBudget)
	} else {
		found, _ = rules.Validate(background, nil, v.schema.structural, now, then, celconfig.RuntimeCELCostBudget, cel.WithRatcheting(ratchet))
	}
	return found
}

// checkScale checks the fields that the scale subresource reads.
func (v *version) checkScale(now map[string]any, spec bool) field.ErrorList {
	s := scaleOf(v.api)
	if s == nil {
		return nil
	}
	var errs field.ErrorList
	count := func(path string) {
		n, _, err := unstructured.NestedInt64(now, split(path)...)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(field.NewPath(path), n, err.Error()))
		case n < 0:
			errs = append(errs, field.Invalid(field.NewPath(path), n, "should be a non-negative integer"))
		case n > math.MaxInt32:
			errs = append(errs, field.Invalid(field.NewPath(path), n, fmt.Sprintf("should be less than or equal to %v", math.MaxInt32)))
		}
	}
	if spec {
		count(s.SpecReplicasPath)
	}
	count(s.StatusReplicasPath)
	if s.LabelSelectorPath != nil {
		if text, _, err := unstructured.NestedString(now, split(*s.LabelSelectorPath)...); err != nil {
			errs = append(errs, field.Invalid(field.NewPath(*s.LabelSelectorPath), text, err.Error()))
		}
	}
	return errs
}

func scaleOf(v *apiextensionsv1.CustomResourceDefinitionVersion) *apiextensionsv1.CustomResourceSubresourceScale {
	if v.Subresources == nil {
		return nil
	}
	return v.Subresources.Scale
}

// split makes the keys of a simple JSON path.
func split(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

// content is a custom resource's map; nil for none.
func content(o txn.Object) map[string]any {
	if u, ok := o.(*unstructured.Unstructured); ok && u != nil {
		return u.Object
	}
	return nil
}
