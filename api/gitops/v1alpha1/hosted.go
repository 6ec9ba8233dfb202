package v1alpha1

import (
	"regexp"
	"strings"
)

// HostedScheme begins the URL of a repository that the server keeps itself.
const HostedScheme = "hosted:"

// SubresourceRepository is what whoever reads a hosted repository by
// https://SERVER/git/NAME must be allowed to get, under the repository's name.
// It is there for authorization only.
const SubresourceRepository = "repository"

var hostedName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// HostedName is the name of a repository that the server keeps itself, as
// "hosted:shop" has it; empty for other URLs.
func HostedName(url string) string {
	name, ok := strings.CutPrefix(url, HostedScheme)
	if !ok || len(name) > 100 || strings.HasSuffix(name, ".git") || !hostedName.MatchString(name) {
		return ""
	}
	return name
}
