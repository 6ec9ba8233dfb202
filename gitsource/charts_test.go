package gitsource_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// TestChartsFromOutside: a commit waits for the repository of a chart that it
// depends on, and needs it no longer once the chart has come.
func TestChartsFromOutside(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	t.Cleanup(func() { c.stop() })
	charts := filepath.Join(c.dir, "charts")
	c.write("app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies:\n- {name: db, version: 1.2.3, repository: \"https://charts.example.org\"}\n")
	first := c.push("first")
	c.follow("main", func(o *v1alpha1.GitSource) {
		o.Spec.Helm = &v1alpha1.HelmSpec{Repositories: []v1alpha1.ChartRepository{{URL: charts}}}
	})
	c.run()
	c.phase("main", first, v1alpha1.ReleaseRefused)
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for name, content := range map[string]string{"db/Chart.yaml": "apiVersion: v2\nname: db\nversion: 1.2.3\n", "db/templates/db.yaml": configMap("db", "came")} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	for _, closer := range []interface{ Close() error }{w, zipped} {
		if err := closer.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(charts, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(charts, "db-1.2.3.tgz"), out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c.eventually("release "+first, func() string {
		c.clock.Step(time.Second) // to the next try
		return c.phaseIs("main", first, v1alpha1.ReleaseHealthy)
	})
	if err := os.RemoveAll(charts); err != nil {
		t.Fatal(err)
	}
	c.stop()
	c.run()
	c.write("more.yaml", configMap("more", "more"))
	second := c.push("second")
	c.phase("main", second, v1alpha1.ReleaseHealthy)
	if got := dataOf(c.get(ref("configmaps", "default/db")))["key"]; got != "came" {
		t.Errorf("the chart's object has %q", got)
	}
}
