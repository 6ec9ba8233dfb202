package forge

import (
	"net/url"
	"strings"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// Locate works out which repository of which forge a source's URL names, where
// its settings do not say. The token is left to the caller.
func Locate(spec *v1alpha1.GitSourceSpec) Target {
	f := spec.Forge
	host, path := v1alpha1.HostAndPath(spec.URL)
	t := Target{Type: f.Type, URL: strings.TrimSuffix(f.URL, "/"), Repository: f.Repository, CABundle: spec.CABundle}
	if t.URL == "" && host != "" {
		t.URL = "https://" + host
	}
	if t.Type == v1alpha1.ForgeAuto {
		if base, err := url.Parse(t.URL); err == nil {
			t.Type = v1alpha1.ForgeOf(base.Host)
		}
	}
	if t.Repository == "" {
		if base, err := url.Parse(f.URL); err == nil { // a forge below a path
			path = strings.TrimPrefix(path, strings.Trim(base.Path, "/")+"/")
		}
		t.Repository = path
	}
	return t
}
