package fault_test

import (
	"fmt"
	"strings"
	"testing"

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
				died := s.diesOr(func() bool { return s.connect() == "" && s.phase("main", second, v1alpha1.ReleaseHealthy) == "" })
				s.kill()
				if died && s.cmd.ProcessState.ExitCode() != 86 {
					t.Fatalf("the server ended by itself: %v", s.cmd.ProcessState)
				}
				s.checkOneCommit()
				everywhere := strings.HasPrefix(point, "store.")
				if !died && !everywhere {
					t.Fatal("the push has not passed the point")
				}
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
