package v1alpha1

import (
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// scpLike is git's short form of an ssh URL, such as git@example.org:team/shop.git.
var scpLike = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^:/][^:]*$`)

func validateURL(s string, at *field.Path) field.ErrorList {
	if s == "" {
		return field.ErrorList{field.Required(at, "give an https:// or ssh:// URL or the absolute path of a repository")}
	}
	if strings.HasPrefix(s, "/") {
		if path.Clean(s) != s {
			return field.ErrorList{field.Invalid(at, s, "must be a clean path, without \"..\", \".\" or a slash at its end")}
		}
		return nil
	}
	if name, ok := strings.CutPrefix(s, HostedScheme); ok {
		if HostedName(s) == "" {
			return field.ErrorList{field.Invalid(at, s, "the name "+strconv.Quote(name)+" of a hosted repository must be lower case letters, digits, dashes and dots, without .git at its end")}
		}
		return nil
	}
	if scpLike.MatchString(s) {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(at, s, "is neither a URL nor an absolute path")}
	case u.Scheme == "ssh" && u.Host != "" && strings.Trim(u.Path, "/") != "" && !strings.HasPrefix(u.Host, "-"):
		if _, has := u.User.Password(); has {
			return field.ErrorList{field.Invalid(at, u.Redacted(), "must not carry a password; put a private key into a Secret and name it in secretRef")}
		}
		return nil
	case u.User != nil:
		return field.ErrorList{field.Invalid(at, u.Redacted(), "must not carry credentials; put them into a Secret and name it in secretRef")}
	case u.Scheme == "file" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return nil
	case u.Scheme == "https" && u.Host != "":
		return nil
	case u.Scheme == "http":
		return field.ErrorList{field.Invalid(at, s, "must use https: over plain http anybody on the way could write to the cluster")}
	}
	return field.ErrorList{field.Invalid(at, s, "must be https://host/path, ssh://user@host/path, file:///path or an absolute path")}
}

func validateReference(r *GitReference, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	set := 0
	check := func(child, value, full string) {
		if value == "" {
			return
		}
		set++
		if msg := invalidRef(full); msg != "" {
			errs = append(errs, field.Invalid(at.Child(child), value, msg))
		}
	}
	check("branch", r.Branch, "refs/heads/"+r.Branch)
	check("tag", r.Tag, "refs/tags/"+r.Tag)
	check("name", r.Name, r.Name)
	if r.Commit != "" {
		set++
		if !commitID.MatchString(r.Commit) {
			errs = append(errs, field.Invalid(at.Child("commit"), r.Commit, "must be a full commit id of 40 hexadecimal digits"))
		}
	}
	if r.Semver != "" {
		set++
		if _, err := semver.NewConstraint(r.Semver); err != nil {
			errs = append(errs, field.Invalid(at.Child("semver"), r.Semver, `must be a range of versions, such as ">=1.4.0 <2.0.0" or "1.x"`))
		}
	}
	if set > 1 {
		errs = append(errs, field.Invalid(at, "", "set only one of branch, tag, semver, commit and name"))
	}
	return errs
}

// validateTrust looks at who may tell of pushes and whose commits count.
func validateTrust(s *GitSourceSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if w := s.Webhook; w != nil {
		where := at.Child("webhook")
		errs = append(errs, oneOf(w.Type, where.Child("type"), WebhookGitHub, WebhookGitLab, WebhookGitea, WebhookGeneric)...)
		errs = append(errs, validateObject(w.SecretRef.Namespace, w.SecretRef.Name, where.Child("secretRef"))...)
	}
	v := s.Verification
	if v == nil {
		return errs
	}
	where := at.Child("verification")
	errs = append(errs, oneOf(v.Mode, where.Child("mode"), VerifyHead, VerifyTag, VerifyTagAndHead)...)
	if v.Mode != VerifyHead && s.Ref.Tag == "" && s.Ref.Semver == "" && !strings.HasPrefix(s.Ref.Name, "refs/tags/") {
		errs = append(errs, field.Invalid(where.Child("mode"), v.Mode, "needs a ref that is a tag or a range of versions: a branch has no tag to be signed"))
	}
	if len(v.Signers) == 0 {
		errs = append(errs, field.Required(where.Child("signers"), "name at least one set of keys, or nothing could ever be applied"))
	}
	for i := range v.Signers {
		errs = append(errs, validateSigners(&v.Signers[i], v.Mode, where.Child("signers").Index(i))...)
	}
	return errs
}

func validateSigners(s *SignerSet, mode VerificationMode, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Path != "" {
		errs = append(errs, validatePath(s.Path, at.Child("path"))...)
		if mode == VerifyTag {
			errs = append(errs, field.Invalid(at.Child("path"), s.Path, "a tag is signed as a whole: use the mode head or tagAndHead with paths"))
		}
	}
	switch {
	case s.SecretRef == nil && s.ConfigMapRef == nil:
		errs = append(errs, field.Required(at, "set secretRef or configMapRef to where the public keys are"))
	case s.SecretRef != nil && s.ConfigMapRef != nil:
		errs = append(errs, field.Invalid(at, "", "set only one of secretRef and configMapRef"))
	case s.SecretRef != nil:
		errs = append(errs, validateObject(s.SecretRef.Namespace, s.SecretRef.Name, at.Child("secretRef"))...)
	default:
		errs = append(errs, validateObject(s.ConfigMapRef.Namespace, s.ConfigMapRef.Name, at.Child("configMapRef"))...)
	}
	for i, name := range s.Names {
		if strings.TrimSpace(name) == "" {
			errs = append(errs, field.Required(at.Child("names").Index(i), "a principal, an e-mail address or a fingerprint"))
		}
	}
	return errs
}

func validateObject(namespace, name string, at *field.Path) field.ErrorList {
	return append(validateName(namespace, true, at.Child("namespace")), validateName(name, false, at.Child("name"))...)
}
