package v1alpha1

import (
	"crypto/x509"
	"math"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateRendering checks what says how files become objects.
func validateRendering(s *GitSourceSpec, at *field.Path) field.ErrorList {
	errs := oneOf(s.Render, at.Child("render"), RenderAuto, RenderPlain, RenderKustomize, RenderHelm)
	errs = append(errs, validateHelm(s.Helm, at.Child("helm"))...)
	if d := s.Decryption; d != nil && d.SecretRef != nil {
		where := at.Child("decryption", "secretRef")
		errs = append(errs, validateName(d.SecretRef.Namespace, true, where.Child("namespace"))...)
		errs = append(errs, validateName(d.SecretRef.Name, false, where.Child("name"))...)
	}
	seen := map[string]bool{}
	for i, v := range s.Variables {
		where := at.Child("variables").Index(i)
		switch {
		case !variableName.MatchString(v.Name):
			errs = append(errs, field.Invalid(where.Child("name"), v.Name, "must be of letters, digits and underscores, and not begin with a digit"))
		case seen[v.Name]:
			errs = append(errs, field.Duplicate(where.Child("name"), v.Name))
		}
		seen[v.Name] = true
		errs = append(errs, oneOf(v.Type, where.Child("type"), "", VariableString, VariableInteger, VariableNumber, VariableBoolean)...)
		if msg := v.invalid(); msg != "" {
			errs = append(errs, field.Invalid(where.Child("value"), v.Value, msg))
		}
	}
	return errs
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// invalid says why the value is not of its type, or nothing.
func (v *Variable) invalid() string {
	switch v.Type {
	case VariableInteger:
		if _, err := strconv.ParseInt(v.Value, 10, 64); err != nil {
			return "must be a whole number"
		}
	case VariableNumber:
		if f, err := strconv.ParseFloat(v.Value, 64); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return "must be a number"
		}
	case VariableBoolean:
		if v.Value != "true" && v.Value != "false" {
			return "must be true or false"
		}
	}
	return ""
}

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
	if len(h.Repositories) > 10 {
		errs = append(errs, field.TooMany(at.Child("repositories"), len(h.Repositories), 10))
	}
	for i, r := range h.Repositories {
		u, err := url.Parse(r.URL)
		local := err == nil && (u.Scheme == "" || u.Scheme == "file" && u.Host == "") && path.IsAbs(u.Path)
		if err != nil || u.User != nil || !local && (u.Scheme != "https" || u.Host == "") {
			errs = append(errs, field.Invalid(at.Child("repositories").Index(i).Child("url"), "", "must be https://host/path, file:///path or an absolute path, without a password"))
		}
		if len(r.CABundle) > 0 && !x509.NewCertPool().AppendCertsFromPEM(r.CABundle) {
			errs = append(errs, field.Invalid(at.Child("repositories").Index(i).Child("caBundle"), "(PEM)", "has no certificate in PEM form"))
		}
	}
	if h.Mirror != "" {
		errs = append(errs, validatePath(h.Mirror, at.Child("mirror"))...)
	}
	return errs
}
