package hosted

import (
	"path/filepath"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// Dir is where hosted repositories are below the engine's directory.
func Dir(engine string) string { return filepath.Join(engine, "hosted") }

// Path is where the repository of a hosted: URL is below the engine's
// directory; empty for another URL.
func Path(engine, url string) string {
	name := v1alpha1.HostedName(url)
	if name == "" {
		return ""
	}
	return filepath.Join(Dir(engine), name+".git")
}
