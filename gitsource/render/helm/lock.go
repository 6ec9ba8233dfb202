package helm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/Masterminds/semver/v3"
	chart "helm.sh/helm/v4/pkg/chart/v2"
)

// Exact is the one version of a dependency that is meant: by Chart.lock, which
// has to belong to Chart.yaml, or by Chart.yaml itself.
func Exact(c *chart.Chart, want *chart.Dependency) (string, error) {
	if c.Lock == nil {
		if _, err := semver.NewVersion(want.Version); err != nil {
			return "", &Error{Path: "Chart.yaml", Line: lineOf(raw(c, "Chart.yaml"), "name: "+want.Name), Message: fmt.Sprintf(
				"the dependency %s %s is a range, which would be another version tomorrow: write an exact one, or run helm dependency update and commit Chart.lock", want.Name, want.Version)}
		}
		return want.Version, nil
	}
	// As Helm does it: over what is asked for and what is locked.
	encoded, err := json.Marshal([2][]*chart.Dependency{c.Metadata.Dependencies, c.Lock.Dependencies})
	if err != nil {
		return "", fmt.Errorf("Chart.lock: %w", err)
	}
	sum := sha256.Sum256(encoded)
	if c.Lock.Digest != "sha256:"+hex.EncodeToString(sum[:]) {
		return "", &Error{Path: "Chart.lock", Line: 1, Message: "is not of this Chart.yaml: run helm dependency update, and commit it"}
	}
	for _, d := range c.Lock.Dependencies {
		if d.Name == want.Name && d.Repository == want.Repository {
			return d.Version, nil
		}
	}
	return "", &Error{Path: "Chart.lock", Line: 1, Message: "does not have the dependency " + want.Name}
}
