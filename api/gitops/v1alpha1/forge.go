package v1alpha1

import (
	"net"
	"net/url"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ForgeType is whose API a forge speaks.
// +enum
type ForgeType string

const (
	// ForgeAuto tells by the name of the host.
	ForgeAuto ForgeType = "auto"
	// ForgeGitHub is github.com or a GitHub Enterprise Server.
	ForgeGitHub ForgeType = "github"
	// ForgeGitLab is gitlab.com or a GitLab of one's own.
	ForgeGitLab ForgeType = "gitlab"
	// ForgeGitea is Gitea or Forgejo.
	ForgeGitea ForgeType = "gitea"
)

// ForgeSpec says how the forge is told what becomes of commits and what pull
// requests would change.
type ForgeSpec struct {
	// Type is github, gitlab, gitea (Forgejo too) or auto, the default, which
	// tells by the name of the host.
	// +optional
	Type ForgeType `json:"type,omitempty"`
	// URL of the forge, as https://git.example.org. Default: the host of the
	// source's URL.
	// +optional
	URL string `json:"url,omitempty"`
	// Repository on the forge, as "team/shop". Default: the path of the source's
	// URL.
	// +optional
	Repository string `json:"repository,omitempty"`
	// SecretRef names a Secret whose key "token" may write statuses of commits
	// and comments of pull requests, and whose key "proxy", if it has one, is the
	// URL of a proxy; else that of spec.secretRef counts. The source's caBundle counts here too.
	SecretRef SecretReference `json:"secretRef"`
	// Statuses sets a status, headway/<name of the cluster>/<name of the
	// source>, on each commit that is tried.
	// +optional
	Statuses bool `json:"statuses,omitempty"`
	// Comments keeps one comment on each pull request that spec.previews plans,
	// with what it would change.
	// +optional
	Comments bool `json:"comments,omitempty"`
}

// ForgeOf guesses a forge by the name of its host; it is ForgeAuto when that
// says nothing.
func ForgeOf(host string) ForgeType {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(host)
	for _, known := range []struct {
		name string
		kind ForgeType
	}{{"github", ForgeGitHub}, {"gitlab", ForgeGitLab}, {"gitea", ForgeGitea}, {"forgejo", ForgeGitea}, {"codeberg", ForgeGitea}} {
		if strings.HasPrefix(host, known.name+".") {
			return known.kind
		}
	}
	return ForgeAuto
}

// HostAndPath are the host of a source's URL and the repository's path on it
// without slashes around and the ending .git; both are empty for what lies on
// this machine.
func HostAndPath(address string) (host, repository string) {
	u, err := url.Parse(address)
	switch {
	case scpLike.MatchString(address):
		_, rest, _ := strings.Cut(address, "@")
		host, repository, _ = strings.Cut(rest, ":")
	case err != nil || u.Host == "":
		return "", ""
	case u.Scheme == "ssh": // whose port is not that of the web
		host, repository = u.Hostname(), u.Path
	default:
		host, repository = u.Host, u.Path
	}
	return host, strings.TrimSuffix(strings.Trim(repository, "/"), ".git")
}

func validateForge(s *GitSourceSpec, at *field.Path) field.ErrorList {
	f := s.Forge
	if f == nil {
		return nil
	}
	errs := oneOf(f.Type, at.Child("type"), ForgeAuto, ForgeGitHub, ForgeGitLab, ForgeGitea)
	errs = append(errs, validateObject(f.SecretRef.Namespace, f.SecretRef.Name, at.Child("secretRef"))...)
	host, repository := HostAndPath(s.URL)
	if f.URL != "" {
		u, err := url.Parse(f.URL)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			errs = append(errs, field.Invalid(at.Child("url"), "(URL)", "must be an https URL without credentials, such as https://git.example.org"))
		} else {
			host = u.Host
		}
	} else if host == "" {
		errs = append(errs, field.Required(at.Child("url"), "the source's URL names no host: say where the forge is"))
	}
	if f.Type == ForgeAuto && host != "" && ForgeOf(host) == ForgeAuto {
		errs = append(errs, field.Required(at.Child("type"), "the name "+host+" does not say whose API it speaks: set github, gitlab or gitea"))
	}
	switch {
	case f.Repository == "" && repository == "":
		errs = append(errs, field.Required(at.Child("repository"), `the source's URL names none: say which, as "team/shop"`))
	case f.Repository != "" && (path.Clean("/"+f.Repository) != "/"+f.Repository || !strings.Contains(f.Repository, "/")):
		errs = append(errs, field.Invalid(at.Child("repository"), f.Repository, `must be the owner and the name, as "team/shop"`))
	}
	if !f.Statuses && !f.Comments {
		errs = append(errs, field.Required(at, "set statuses, comments or both"))
	}
	if f.Comments && len(s.Previews.Refs) == 0 {
		errs = append(errs, field.Required(field.NewPath("spec", "previews", "refs"), `comments are of the references that are planned: name them, as "refs/pull/*/head"`))
	}
	return errs
}
