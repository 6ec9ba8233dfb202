package v1alpha1

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateHelm(h *HelmSpec, at *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	var errs field.ErrorList
	if h.ReleaseName != "" {
		for _, msg := range validation.IsDNS1123Subdomain(h.ReleaseName) {
			errs = append(errs, field.Invalid(at.Child("releaseName"), h.ReleaseName, msg))
		}
		if len(h.ReleaseName) > 53 {
			errs = append(errs, field.TooLong(at.Child("releaseName"), h.ReleaseName, 53))
		}
	}
	for i, f := range h.ValuesFiles {
		if f == "" || strings.ContainsAny(f, "\x00\n") {
			errs = append(errs, field.Invalid(at.Child("valuesFiles").Index(i), f, "must be the path of a file"))
		}
	}
	if h.Values != nil && len(h.Values.Raw) > 0 && !strings.HasPrefix(strings.TrimSpace(string(h.Values.Raw)), "{") {
		errs = append(errs, field.Invalid(at.Child("values"), "", "must be a mapping"))
	}
	if h.Mirror != "" {
		errs = append(errs, validatePath(h.Mirror, at.Child("mirror"))...)
	}
	return errs
}
