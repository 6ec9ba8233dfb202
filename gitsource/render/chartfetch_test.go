package render_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	chart "helm.sh/helm/v4/pkg/chart/v2"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/gitsource/chartrepo"
)

// lockOf is a Chart.lock as Helm writes it.
func lockOf(t *testing.T, asked, locked string) string {
	t.Helper()
	const from = "https://charts.example.org"
	encoded, err := json.Marshal([2][]*chart.Dependency{{{Name: "db", Version: asked, Repository: from}}, {{Name: "db", Version: locked, Repository: from}}})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(encoded)
	return "dependencies:\n- name: db\n  repository: " + from + "\n  version: " + locked + "\ndigest: sha256:" + hex.EncodeToString(sum[:]) + "\ngenerated: \"2026-03-01T12:00:00Z\"\n"
}

// TestChartRepositories: dependencies come from the repositories that are named,
// in the one version that is locked, and what has come stays.
func TestChartRepositories(t *testing.T) {
	t.Parallel()
	chartFile := func(version string) string {
		return "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies:\n- name: db\n  version: \"" + version + "\"\n  repository: https://charts.example.org\n"
	}
	dir, cache := t.TempDir(), t.TempDir()
	for _, version := range []string{"1.2.3", "1.3.0"} {
		archive := packed(t, "db", map[string]string{"db/Chart.yaml": "apiVersion: v2\nname: db\nversion: " + version + "\n",
			"db/templates/db.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: db}\ndata: {version: " + version + "}\n"})
		if err := os.WriteFile(filepath.Join(dir, "db-"+version+".tgz"), []byte(archive), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	try := func(name, want string, files map[string]string, from ...v1alpha1.ChartRepository) {
		t.Helper()
		set, problems := renderWith(t, files, func(c *config) {
			c.Charts.Repositories, c.Charts.Fetch = from, gitsource.FetchCharts(chartrepo.Open(cache), from)
		})
		switch {
		case len(problems) > 0 && !strings.Contains(problems[0].String(), want), len(problems) == 0 && (set == nil || len(set.Objects) != 1):
			t.Errorf("%s: %v, %v", name, problems, set)
		case len(problems) == 0 && body(set.Objects[0], "version") != want:
			t.Errorf("%s: it is %v", name, set.Objects[0].Body)
		}
	}
	here := v1alpha1.ChartRepository{URL: dir}
	locked := map[string]string{"app/Chart.yaml": chartFile("1.x"), "app/Chart.lock": lockOf(t, "1.x", "1.2.3")}
	try("not named", "app/Chart.yaml:5: helm: the dependency db 1.x is neither in charts/", locked)
	try("a range", "app/Chart.yaml:5: helm: the dependency db 1.x is a range", map[string]string{"app/Chart.yaml": chartFile("1.x")}, here)
	try("a stale lock", "app/Chart.lock:1: helm: is not of this Chart.yaml", map[string]string{"app/Chart.yaml": chartFile("2.x"), "app/Chart.lock": lockOf(t, "1.x", "1.2.3")}, here)
	try("locked", "1.2.3", locked, here)
	try("exact", "1.3.0", map[string]string{"app/Chart.yaml": chartFile("1.3.0")}, here)
	try("not there", "the dependency db 1.4.0 cannot be had", map[string]string{"app/Chart.yaml": chartFile("1.4.0")}, here)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	try("away, and kept", "1.2.3", locked, here)
}

// TestChartRepositoriesBounded: neither many large dependencies nor repositories
// that do not answer make a commit costly.
func TestChartRepositoriesBounded(t *testing.T) {
	t.Parallel()
	from := []v1alpha1.ChartRepository{{URL: "https://charts.example.org"}}
	large := "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies:\n"
	for n := range 12 {
		large += fmt.Sprintf("- {name: db, version: 1.2.3, repository: \"https://charts.example.org\", alias: db%d}\n", n)
	}
	archive := packed(t, "db", map[string]string{"db/Chart.yaml": "apiVersion: v2\nname: db\nversion: 1.2.3\n", "db/files/a": strings.Repeat("a", 4<<20)})
	asked := 0
	_, problems := renderWith(t, map[string]string{"app/Chart.yaml": large}, func(c *config) {
		c.Charts.Repositories, c.Charts.Fetch = from, func(context.Context, string, string) ([]byte, error) {
			asked++
			return []byte(archive), nil
		}
	})
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "the dependencies from elsewhere have more than") || asked > 9 {
		t.Errorf("after %d: %v", asked, problems)
	}
	one := func(name string) string {
		return "apiVersion: v2\nname: " + name + "\nversion: 1.0.0\ndependencies:\n- {name: db, version: 1.2.3, repository: \"https://charts.example.org\"}\n"
	}
	asked = 0
	_, problems = renderWith(t, map[string]string{"a/Chart.yaml": one("a"), "b/Chart.yaml": one("b")}, func(c *config) {
		c.Charts.Repositories, c.Charts.Fetch = from, func(context.Context, string, string) ([]byte, error) {
			asked++
			return nil, fmt.Errorf("index.yaml: %w", context.DeadlineExceeded)
		}
	})
	if len(problems) != 2 || asked != 1 {
		t.Errorf("asked %d times: %v", asked, problems)
	}
}
