package v1alpha1

import (
	"fmt"
	"path"
	"slices"
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
		errs = append(errs, validateTenantKeys(s, t, at.Child("decryption", "secretRef"))...)
	}
	return errs
}

// validateTenantKeys sees to it that no tenant has what another's keys open: his
// are in a Secret of his own, in a namespace that is his or no tenant's.
func validateTenantKeys(s *GitSourceSpec, t *Tenant, at *field.Path) field.ErrorList {
	if t.Decryption == nil || t.Decryption.SecretRef == nil {
		return nil
	}
	ref := *t.Decryption.SecretRef
	errs := validateObject(ref.Namespace, ref.Name, at)
	if d := s.Decryption; d != nil && d.SecretRef != nil && *d.SecretRef == ref {
		errs = append(errs, field.Invalid(at, ref.Namespace+"/"+ref.Name, "has the source's own keys, which open no tenant's files"))
	}
	his := t.has(ref.Namespace)
	for i := range s.Tenants {
		other := &s.Tenants[i]
		switch {
		case other.Name == t.Name:
		case other.Decryption != nil && other.Decryption.SecretRef != nil && *other.Decryption.SecretRef == ref:
			errs = append(errs, field.Invalid(at, ref.Namespace+"/"+ref.Name, fmt.Sprintf("has the keys of the tenant %q", other.Name)))
		case !his && other.has(ref.Namespace):
			errs = append(errs, field.Invalid(at.Child("namespace"), ref.Namespace, fmt.Sprintf("is a namespace of the tenant %q", other.Name)))
		}
	}
	return errs
}

// has tells whether a namespace is one of the tenant's.
func (t *Tenant) has(namespace string) bool {
	return slices.ContainsFunc(t.Namespaces, func(p string) bool {
		ok, err := path.Match(p, namespace)
		return ok && err == nil
	})
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
