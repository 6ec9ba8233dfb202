package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTour is the README's first screen, step by step.
func TestTour(t *testing.T) {
	m := newMachine(t)
	before := m.traces()

	out := m.ok("up", "--https-port", port, "--node-name", "tour", "--timeout", "3m")
	repository := filepath.Join(m.data, "repos", "cluster.git")
	for _, want := range []string{repository, filepath.Join(m.data, "admin.kubeconfig"), "git clone"} {
		if !strings.Contains(out, want) {
			t.Errorf("up does not tell of %s:\n%s", want, out)
		}
	}

	m.git("", "clone", repository, m.clone)
	m.git(m.clone, "config", "user.name", "Jo Tester")
	m.git(m.clone, "config", "user.email", "jo@example.org")
	m.replace("apps/hello/deployment.yaml", "replicas: 2", "replicas: 5")
	m.push("more hello")
	m.ok("wait", "HEAD", "--timeout", "2m")

	if out := m.ok("status"); !strings.Contains(out, "Synced") || !strings.Contains(out, "Healthy") || !strings.Contains(out, "Ready") {
		t.Errorf("status:\n%s", out)
	}
	if out := m.ok("kubectl", "get", "pods", "-o", "wide"); strings.Count(out, "Running") != 5 {
		t.Errorf("kubectl get pods:\n%s", out)
	}
	t.Run("service", func(t *testing.T) { m.reach(t) })
	t.Run("report", func(t *testing.T) { m.wantReport(t, "STATUS.md", "more hello", "Synced, Healthy") })
	t.Run("drift", func(t *testing.T) {
		m.ok("kubectl", "--as=jane", "delete", "deployment", "hello", "--wait=false")
		m.eventually(t, "the Deployment to be back", func() bool {
			return strings.TrimSpace(m.try("kubectl", "get", "deployment", "hello", "-o", "jsonpath={.status.readyReplicas}").stdout) == "5"
		})
		m.wantReport(t, "STATUS.md", "jane", "deleted it", "127.0.0.1")
		if out := m.ok("status"); !strings.Contains(out, "jane") {
			t.Errorf("status does not tell of jane:\n%s", out)
		}
		m.code(0, "diff")
	})
	t.Run("refused", func(t *testing.T) {
		m.replace("apps/hello/deployment.yaml", "replicas: 5", "replicas: five")
		m.push("not a number")
		r := m.code(4, "wait", "HEAD", "--timeout", "1m")
		if !strings.Contains(r.stderr, "apps/hello/deployment.yaml:") {
			t.Errorf("wait does not name the file: %s", r.stderr)
		}
		m.code(1, "status", "--exit-code")
		m.git(m.clone, "revert", "--no-edit", "HEAD")
		m.git(m.clone, "push", "-q")
		m.ok("wait", "HEAD", "--timeout", "1m")
	})
	t.Run("never pushed", func(t *testing.T) {
		m.git(m.clone, "commit", "--allow-empty", "-qm", "stays here")
		m.code(1, "wait", "HEAD", "--unseen", "1s")
		m.git(m.clone, "reset", "-q", "--hard", "HEAD~1")
	})
	t.Run("prune", func(t *testing.T) {
		m.git(m.clone, "rm", "-rq", "apps/hello")
		m.push("bye")
		m.ok("wait", "HEAD", "--timeout", "1m")
		if out := m.ok("kubectl", "get", "deployments,services", "-o", "name"); strings.Contains(out, "hello") {
			t.Errorf("left behind: %s", out)
		}
		m.eventually(t, "the pods to be gone", func() bool { return m.ok("kubectl", "get", "pods", "-o", "name") == "" })
	})
	t.Run("log", func(t *testing.T) {
		var releases struct {
			Items []struct {
				Status struct{ Phase string }
			}
		}
		if err := json.Unmarshal([]byte(m.ok("log", "-o", "json")), &releases); err != nil {
			t.Fatal(err)
		}
		var phases []string
		for _, r := range releases.Items {
			phases = append(phases, r.Status.Phase)
		}
		slices.Sort(phases)
		if got := strings.Join(phases, " "); got != "Healthy Healthy Healthy Healthy Refused" {
			t.Errorf("phases %s", got)
		}
	})

	m.ok("down", "--purge")
	if _, err := os.Stat(m.data); !os.IsNotExist(err) {
		t.Errorf("down --purge leaves %s: %v", m.data, err)
	}
	before.compare(t, m.traces())
}
