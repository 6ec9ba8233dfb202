package fault_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// TestServerDiesAtEachPointOfAPush ends the server at every failpoint that a
// push passes, as kill -9 does, and starts it again: what it finds is one
// commit, never a mix, and in the end it is the newest.
func TestServerDiesAtEachPointOfAPush(t *testing.T) {
	for _, point := range []string{
		"gitsource.fetch.after", "gitsource.render.after", "gitsource.plan.after", "gitsource.commit.before",
		"store.txn.before", "store.txn.after", "gitsource.commit.after", "gitsource.report.before",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			for _, name := range []string{"a", "b", "c"} {
				r.write(name+".yaml", configMap(name, "one"))
			}
			first := r.push("first")
			s := controlPlane(t, "--repo", r.bare())
			s.awaitPhase("main", first, v1alpha1.ReleaseHealthy)
			s.stop()

			r.write("a.yaml", configMap("a", "two"))
			r.write("b.yaml", configMap("b", "two"))
			r.remove("c.yaml")
			second := r.push("second")
			// How many transactions a start makes before the commit's own is not
			// fixed: each of the first ones is tried in turn until one start
			// passes the commit.
			for n := 1; ; n++ {
				s.start(fmt.Sprintf("HEADWAY_FAILPOINTS=%s=%d*exit", point, n))
				everywhere := strings.HasPrefix(point, "store.")
				// A push passes every other point, some of them after it is healthy.
				died := s.diesOr(func() bool {
					return everywhere && s.connect() == "" && s.phase("main", second, v1alpha1.ReleaseHealthy) == ""
				})
				s.kill()
				if died && s.cmd.ProcessState.ExitCode() != 86 {
					t.Fatalf("the server ended by itself: %v", s.cmd.ProcessState)
				}
				s.checkOneCommit()
				if !died || !everywhere {
					break
				}
			}
			s.start()
			s.ready()
			s.awaitPhase("main", second, v1alpha1.ReleaseHealthy)
			if got := s.values("a", "b", "c"); got != "two two -" {
				t.Fatalf("in the end the cluster has %q", got)
			}
		})
	}
}

// diesOr waits until the server has died, or done says that it goes on.
func (s *server) diesOr(done func() bool) bool {
	s.t.Helper()
	died := false
	eventually(s.t, "the failpoint", func() string {
		select {
		case <-s.ended:
			died = true
			return ""
		default:
		}
		if done() {
			return ""
		}
		return "the server neither dies nor comes to the end"
	})
	return died
}

// checkOneCommit looks at what a dead server has left, without letting git in.
func (s *server) checkOneCommit() {
	s.t.Helper()
	args := s.args
	s.args = append(append([]string{}, args...), "--disable", "gitsource")
	s.start()
	s.ready()
	got := s.values("a", "b", "c")
	s.kill()
	s.args = args
	if got != "one one one" && got != "two two -" {
		s.t.Fatalf("the dead server has left a mix: %q", got)
	}
}

// TestServerDiesBeforeItCorrects ends the server when it is about to put back
// what somebody has changed: the next one does it, and still knows who it was.
func TestServerDiesBeforeItCorrects(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write("a.yaml", configMap("a", "one"))
	first := r.push("first")
	s := newServer(t, "--disable", "agent", "--repo", r.bare())
	s.start("HEADWAY_FAILPOINTS=gitsource.drift.before=exit")
	s.ready()
	s.awaitPhase("main", first, v1alpha1.ReleaseHealthy)
	// The server may be gone before it has answered.
	_ = s.as("jane", "system:masters").Patch(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}},
		client.RawPatch("application/merge-patch+json", []byte(`{"data":{"key":"hers"}}`)))
	s.wait()
	if code := s.cmd.ProcessState.ExitCode(); code != 86 {
		t.Fatalf("the server ended with %v", s.cmd.ProcessState)
	}
	s.start()
	s.ready()
	s.awaitValues("one", "a")
	eventually(t, "jane in the report", func() string {
		if page := r.report("drift/configmap.default.a.md"); !strings.Contains(page, "jane") {
			return page
		}
		return ""
	})
}

// TestServerDiesBetweenStages: a commit that is too large for one transaction
// is rolled forward by the next server, before anything else.
func TestServerDiesBetweenStages(t *testing.T) {
	t.Parallel()
	const objects = 2100 // one transaction takes 2,000
	r := newRepository(t)
	var all strings.Builder
	for i := range objects {
		all.WriteString("---\n" + configMap(fmt.Sprintf("cm-%d", i), "x"))
	}
	r.write("all.yaml", all.String())
	commit := r.push("many")
	s := newServer(t, "--disable", "agent", "--repo", r.bare())
	s.start("HEADWAY_FAILPOINTS=gitsource.commit.before=2*exit")
	if !s.diesOr(func() bool { return false }) {
		t.Fatal("the server lives")
	}
	count := func() int {
		var list corev1.ConfigMapList
		check(t, s.client.List(t.Context(), &list, client.InNamespace("default")))
		n := 0
		for _, o := range list.Items {
			if strings.HasPrefix(o.Name, "cm-") {
				n++
			}
		}
		return n
	}
	args := s.args
	s.args = append(append([]string{}, args...), "--disable", "gitsource")
	s.start()
	s.ready()
	if n := count(); n == 0 || n == objects {
		t.Errorf("the dead server has left %d objects, want a stage", n)
	}
	if missing := s.phase("main", commit, v1alpha1.ReleaseApplying); missing != "" {
		t.Errorf("between its stages the release %s", missing)
	}
	s.kill()
	s.args = args
	s.start()
	s.ready()
	s.awaitPhase("main", commit, v1alpha1.ReleaseHealthy)
	if n := count(); n != objects {
		t.Errorf("in the end there are %d objects, want %d", n, objects)
	}
}
