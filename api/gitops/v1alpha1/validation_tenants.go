package v1alpha1

import (
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

func exactNamespace(pattern string) bool { return !strings.ContainsAny(pattern, "*?[") }

// validateTenants checks who objects are written as.
func validateTenants(s *GitSourceSpec, at *field.Path) field.ErrorList {
	errs := validateAccount(s.ServiceAccountName, s.ServiceAccountNamespace, at)
	seen := map[string]bool{}
	for i := range s.Tenants {
		t, at := &s.Tenants[i], at.Child("tenants").Index(i)
		switch {
		case t.Name == "":
			errs = append(errs, field.Required(at.Child("name"), "problems with the tenant's objects name it"))
		case seen[t.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), t.Name))
		}
		seen[t.Name] = true
		if len(t.Paths) == 0 {
			errs = append(errs, field.Required(at.Child("paths"), `name the tenant's files, as "teams/a/**"`))
		}
		for j, p := range t.Paths {
			errs = append(errs, validateGlob(p, at.Child("paths").Index(j))...)
		}
		if len(t.Namespaces) == 0 {
			errs = append(errs, field.Required(at.Child("namespaces"), "name the namespaces that the tenant's objects may be in"))
		}
		for j, n := range t.Namespaces {
			at := at.Child("namespaces").Index(j)
			if exactNamespace(n) {
				errs = append(errs, validateName(n, true, at)...)
			} else if _, err := path.Match(n, ""); err != nil || strings.Contains(n, "/") {
				errs = append(errs, field.Invalid(at, n, `must be a name, or a pattern such as "shop-*"`))
			}
		}
		errs = append(errs, validateAccount(t.ServiceAccountName, t.ServiceAccountNamespace, at)...)
		if namespace, name := t.Account(); name != "" && namespace == "" {
			errs = append(errs, field.Required(at.Child("serviceAccountNamespace"), "none of the namespaces is written in full: say where the account is"))
		}
	}
	return errs
}

func validateAccount(name, namespace string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name != "" {
		errs = append(errs, validateName(name, false, at.Child("serviceAccountName"))...)
	} else if namespace != "" {
		errs = append(errs, field.Required(at.Child("serviceAccountName"), "a namespace alone names no account"))
	}
	if namespace != "" {
		errs = append(errs, validateName(namespace, true, at.Child("serviceAccountNamespace"))...)
	}
	return errs
}

// validateGlob checks a pattern of files.
func validateGlob(p string, at *field.Path) field.ErrorList {
	_, err := path.Match(p, "")
	switch {
	case strings.Count(p, "**") > 4:
		return field.ErrorList{field.Invalid(at, p, "must not have more than four **")}
	case p == "":
		return field.ErrorList{field.Required(at, `write "**" for all files`)}
	case strings.HasPrefix(p, "/"), path.Clean(p) != p, p == ".", strings.HasPrefix(p, ".."):
		return field.ErrorList{field.Invalid(at, p, "must be a clean path from the root of the repository")}
	case err != nil:
		return field.ErrorList{field.Invalid(at, p, "is no pattern: "+err.Error())}
	}
	return nil
}

// ValidateWindows says what is wrong with windows, their schedules aside.
func ValidateWindows(windows []Window, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, w := range windows {
		at := at.Index(i)
		errs = append(errs, oneOf(w.Kind, at.Child("kind"), WindowAllow, WindowDeny)...)
		for j, p := range w.Paths {
			errs = append(errs, validateGlob(p, at.Child("paths").Index(j))...)
		}
	}
	return errs
}
