package gitsource_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// TestEventsAndMetrics: what happens to commits and objects is told once, over
// a restart too.
func TestEventsAndMetrics(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	t.Cleanup(c.stop)
	c.write("one.yaml", configMap("one", `"1"`))
	first := c.push("the first")
	c.follow("main", nil)
	c.run()
	c.phase("main", first, v1alpha1.ReleaseHealthy)
	c.write("bad.yaml", "kind: [")
	bad := c.push("broken")
	c.phase("main", bad, v1alpha1.ReleaseRefused)
	bob := txn.Identity{Name: "bob", Groups: []string{"system:authenticated"}}
	one := txn.Ref{Resource: schema.GroupResource{Resource: "configmaps"}, Namespace: "default", Name: "one"}
	c.do(bob, txn.Change{Verb: txn.Patch, Ref: one, Patch: []byte(`{"data":{"key":"2"}}`), PatchType: types.MergePatchType, FieldManager: "kubectl"})
	want := []string{
		fmt.Sprintf("main Healthy %.12s (the first)", first),
		fmt.Sprintf("main Refused %.12s (broken): ", bad),
		"main Drift configmaps default/one was changed by bob",
	}
	c.eventually("events", func() string { return c.eventsAre(want) })
	c.stop()
	c.run()
	c.write("bad.yaml", "")
	mended := c.push("mended")
	c.phase("main", mended, v1alpha1.ReleaseHealthy)
	want = append(want, fmt.Sprintf("main Healthy %.12s (mended)", mended))
	c.eventually("events after a restart", func() string { return c.eventsAre(want) })
	c.eventually("metrics", func() string {
		got := metricsOf(t, c)
		for _, line := range []string{
			"headway_gitsource_commits_total main Healthy 2", "headway_gitsource_commits_total main Refused 1", "headway_gitsource_drifts_total main 1",
			"headway_gitsource_objects main 1", "headway_gitsource_state main healthy 1", "headway_gitsource_state main suspended 0",
			"headway_gitsource_commit_duration_seconds main 2",
		} {
			if !slices.Contains(got, line) {
				return fmt.Sprintf("no %q in\n%s", line, strings.Join(got, "\n"))
			}
		}
		return ""
	})
}

// eventsAre says how the events about the engine's own doings differ from those
// that begin so.
func (c *cluster) eventsAre(want []string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	equal := slices.EqualFunc(c.events, want, func(got, want string) bool {
		return got == want || strings.HasSuffix(want, ": ") && strings.HasPrefix(got, want)
	})
	if !equal {
		return fmt.Sprintf("%q, want %q", c.events, want)
	}
	return ""
}

// metricsOf are the metrics as lines of name, label values and value, or count.
func metricsOf(t *testing.T, c *cluster) []string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c.metrics)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			line := f.GetName()
			values := map[string]string{}
			for _, l := range m.GetLabel() {
				values[l.GetName()] = l.GetValue()
			}
			for _, name := range []string{"source", "phase", "state", "result"} {
				if v, ok := values[name]; ok {
					line += " " + v
				}
			}
			switch {
			case m.GetCounter() != nil:
				line += fmt.Sprint(" ", m.GetCounter().GetValue())
			case m.GetGauge() != nil:
				line += fmt.Sprint(" ", m.GetGauge().GetValue())
			case m.GetHistogram() != nil:
				line += fmt.Sprint(" ", m.GetHistogram().GetSampleCount())
			}
			out = append(out, line)
		}
	}
	return out
}
