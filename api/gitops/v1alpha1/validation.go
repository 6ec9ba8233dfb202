package v1alpha1

import (
	"crypto/x509"
	"path"
	"regexp"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)

// ValidateGitSource says what is wrong with a GitSource after defaulting; old
// is nil for a new one.
func ValidateGitSource(o, _ *GitSource) field.ErrorList {
	s, at := &o.Spec, field.NewPath("spec")
	errs := validateURL(s.URL, at.Child("url"))
	errs = append(errs, validateTrust(s, at)...)
	errs = append(errs, validateReference(&s.Ref, at.Child("ref"))...)
	for i, p := range s.Paths {
		errs = append(errs, validatePath(p, at.Child("paths").Index(i))...)
	}
	for i, pattern := range s.Ignore {
		if strings.TrimSpace(pattern) == "" {
			errs = append(errs, field.Required(at.Child("ignore").Index(i), "write a pattern, or leave it out"))
		}
	}
	if f := s.Fallback; f != "" && (!strings.HasPrefix(f, "/") || path.Clean(f) != f) {
		errs = append(errs, field.Invalid(at.Child("fallback"), f, "must be a clean path from the root of the server's machine"))
	} else if f != "" && (strings.HasPrefix(s.URL, "/") || strings.HasPrefix(s.URL, "file://")) {
		errs = append(errs, field.Forbidden(at.Child("fallback"), "counts only where url is remote"))
	}
	if s.Interval != nil && s.Interval.Duration < MinInterval {
		errs = append(errs, field.Invalid(at.Child("interval"), s.Interval.Duration.String(), "must be at least "+MinInterval.String()))
	}
	if s.Timeout != nil && s.Timeout.Duration <= 0 {
		errs = append(errs, field.Invalid(at.Child("timeout"), s.Timeout.Duration.String(), "must be longer than zero"))
	}
	if r := s.SecretRef; r != nil {
		errs = append(errs, validateObject(r.Namespace, r.Name, at.Child("secretRef"))...)
	} else if strings.HasPrefix(s.URL, "ssh://") || scpLike.MatchString(s.URL) {
		errs = append(errs, field.Required(at.Child("secretRef"), `ssh needs a Secret with "identity" (a private key) and "known_hosts" (the host's key)`))
	}
	if len(s.CABundle) > 0 && !x509.NewCertPool().AppendCertsFromPEM(s.CABundle) {
		errs = append(errs, field.Invalid(at.Child("caBundle"), "(PEM)", "has no certificate in PEM form"))
	}
	errs = append(errs, validateRendering(s, at)...)
	errs = append(errs, validateTenants(s, at)...)
	errs = append(errs, validateNotifications(s.Notifications, at.Child("notifications"))...)
	errs = append(errs, validateDependencies(o, at.Child("dependsOn"))...)
	errs = append(errs, ValidateWindows(s.Windows, at.Child("windows"))...)
	errs = append(errs, validateForge(s, at.Child("forge"))...)
	errs = append(errs, validatePromotion(o, at.Child("promotion"))...)
	errs = append(errs, validateEnvironments(o, at)...)
	errs = append(errs, validateApproval(&s.Approval, at.Child("approval"))...)
	errs = append(errs, validateDrift(&s.Drift, at.Child("drift"))...)
	errs = append(errs, validateHealth(&s.Health, at.Child("health"))...)
	if s.Pin != nil && !commitID.MatchString(s.Pin.Commit) {
		errs = append(errs, field.Invalid(at.Child("pin", "commit"), s.Pin.Commit, "must be a full commit id of 40 hexadecimal digits"))
	}
	if s.TargetNamespace != "" {
		errs = append(errs, validateName(s.TargetNamespace, true, at.Child("targetNamespace"))...)
	}
	return append(errs, validateLimits(s, at)...)
}

func validateDrift(d *DriftSpec, at *field.Path) field.ErrorList {
	errs := oneOf(d.Policy, at.Child("policy"), DriftCorrect, DriftReport, DriftWarn, DriftDeny)
	for i, r := range d.Rules {
		at := at.Child("rules").Index(i)
		errs = append(errs, oneOf(r.Policy, at.Child("policy"), DriftCorrect, DriftReport, DriftWarn, DriftDeny, DriftAllow)...)
		for name, patterns := range map[string][]string{"paths": r.Paths, "kinds": r.Kinds, "namespaces": r.Namespaces, "names": r.Names, "fields": r.Fields} {
			for j, p := range patterns {
				if p == "" {
					errs = append(errs, field.Required(at.Child(name).Index(j), ""))
				}
			}
		}
		if len(r.Fields) == 0 && r.Policy == DriftAllow && r.Until == nil {
			errs = append(errs, field.Required(at.Child("until"), "whole objects may be left to others for a time only; name fields to leave those for good"))
		}
	}
	return errs
}

func validateHealth(h *HealthSpec, at *field.Path) field.ErrorList {
	errs := oneOf(h.OnFailure, at.Child("onFailure"), FailureRollback, FailureHold)
	errs = append(errs, oneOf(h.Revert, at.Child("revert"), RevertNone, RevertBranch, RevertCommit)...)
	for i, c := range h.Checks {
		at := at.Child("checks").Index(i)
		if c.APIVersion == "" {
			errs = append(errs, field.Required(at.Child("apiVersion"), `as "example.com/v1"`))
		}
		if c.Kind == "" {
			errs = append(errs, field.Required(at.Child("kind"), ""))
		}
		if c.Healthy == "" && c.Failed == "" {
			errs = append(errs, field.Required(at, "set healthy, failed or both"))
		}
	}
	return errs
}

func validateLimits(s *GitSourceSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p := s.Guards.MaxDeletePercent; p != nil && (*p < 0 || *p > 100) {
		errs = append(errs, field.Invalid(at.Child("guards", "maxDeletePercent"), *p, "must be between 0 and 100"))
	}
	if n := s.Guards.MinDeletes; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(at.Child("guards", "minDeletes"), *n, "must not be negative"))
	}
	for i, p := range s.Previews.Refs {
		if _, err := path.Match(p, ""); err != nil || !strings.HasPrefix(p, "refs/") {
			errs = append(errs, field.Invalid(at.Child("previews", "refs").Index(i), p, "must be a pattern of full reference names that begins with refs/"))
		}
	}
	if n := s.Previews.Max; n != nil && (*n < 1 || *n > 200) {
		errs = append(errs, field.Invalid(at.Child("previews", "max"), *n, "must be between 1 and 200"))
	}
	errs = append(errs, validateReportsTarget(s, at.Child("reports"))...)
	if b := s.Reports.Branch; b != "" {
		where := at.Child("reports", "branch")
		if msg := invalidRef("refs/heads/" + b); msg != "" {
			errs = append(errs, field.Invalid(where, b, msg))
		}
		if b == s.Ref.Branch || "refs/heads/"+b == s.Ref.Name {
			errs = append(errs, field.Invalid(where, b, "must be another branch than the one that is followed: reports would start themselves"))
		}
	}
	return errs
}

// ValidateRelease says what is wrong with a Release; old is nil for a new one.
func ValidateRelease(o, old *Release) field.ErrorList {
	at := field.NewPath("spec")
	var errs field.ErrorList
	if o.Spec.Source == "" {
		errs = append(errs, field.Required(at.Child("source"), "name the GitSource"))
	}
	if !commitID.MatchString(o.Spec.Commit) {
		errs = append(errs, field.Invalid(at.Child("commit"), o.Spec.Commit, "must be a commit id of 40 hexadecimal digits"))
	}
	if old != nil && (o.Spec.Source != old.Spec.Source || o.Spec.Commit != old.Spec.Commit) {
		errs = append(errs, field.Forbidden(at, "source and commit of a Release never change"))
	}
	return append(errs, oneOf(o.Status.Phase, field.NewPath("status", "phase"), "",
		ReleasePlanned, ReleaseApplying, ReleaseProgressing, ReleaseHealthy, ReleaseFailed,
		ReleaseRefused, ReleaseSuperseded, ReleaseRolledBack, ReleaseQuarantined)...)
}

// ValidatePlan says what is wrong with a Plan; old is nil for a new one.
func ValidatePlan(o, _ *Plan) field.ErrorList {
	at := field.NewPath("spec")
	var errs field.ErrorList
	if o.Spec.Source == "" {
		errs = append(errs, field.Required(at.Child("source"), "name the GitSource"))
	}
	if o.Spec.Ref == (GitReference{}) {
		errs = append(errs, field.Required(at.Child("ref"), "set branch, tag, semver, commit or name"))
	}
	errs = append(errs, validateReference(&o.Spec.Ref, at.Child("ref"))...)
	if b := o.Spec.Base; b != nil {
		if *b == (GitReference{}) {
			errs = append(errs, field.Required(at.Child("base"), "set branch, tag, semver, commit or name, or leave it out"))
		}
		errs = append(errs, validateReference(b, at.Child("base"))...)
	}
	return errs
}

// invalidRef says why a full reference name is not one by git's rules
// (git-check-ref-format), or nothing.
func invalidRef(name string) string {
	switch {
	case !strings.HasPrefix(name, "refs/"):
		return "must be a full name that begins with refs/"
	case len(name) > 255:
		return "must not be longer than 255 bytes"
	case strings.ContainsAny(name, " ~^:?*[\\") || strings.Contains(name, "..") || strings.Contains(name, "@{"):
		return `must not contain spaces, "..", "@{" or any of ~ ^ : ? * [ \`
	case strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return "must not contain control characters"
	case strings.HasSuffix(name, "."):
		return "must not end with a dot"
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return `no part between slashes may be empty, begin with a dot or end with ".lock"`
		}
	}
	return ""
}

func validatePath(p string, at *field.Path) field.ErrorList {
	switch {
	case p == "":
		return field.ErrorList{field.Required(at, `write "." for the root of the repository`)}
	case strings.HasPrefix(p, "/"):
		return field.ErrorList{field.Invalid(at, p, "must be relative to the root of the repository")}
	case path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../"):
		return field.ErrorList{field.Invalid(at, p, "must be a clean path inside the repository")}
	}
	return nil
}

func validateName(s string, namespace bool, at *field.Path) field.ErrorList {
	if s == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	msgs := validation.IsDNS1123Subdomain(s)
	if namespace {
		msgs = apivalidation.ValidateNamespaceName(s, false)
	}
	var errs field.ErrorList
	for _, msg := range msgs {
		errs = append(errs, field.Invalid(at, s, msg))
	}
	return errs
}

func oneOf[T ~string](value T, at *field.Path, allowed ...T) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(at, value, allowed)}
}
