package fault_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// repository is a bare repository and a clone to work in, both by git itself.
type repository struct {
	t   testing.TB
	dir string
}

func newRepository(t testing.TB) *repository {
	t.Helper()
	r := &repository{t: t, dir: t.TempDir()}
	r.git(r.dir, "init", "-q", "--bare", "-b", "main", "cluster.git")
	r.git(r.dir, "clone", "-q", "cluster.git", "work")
	r.git(r.work(), "checkout", "-q", "-b", "main")
	return r
}

func (r *repository) bare() string { return filepath.Join(r.dir, "cluster.git") }
func (r *repository) work() string { return filepath.Join(r.dir, "work") }

// git runs the real git, untouched by the machine's configuration.
func (r *repository) git(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repository) write(name, content string) {
	r.t.Helper()
	path := filepath.Join(r.work(), name)
	check(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(r.t, os.WriteFile(path, []byte(content), 0o644))
}

func (r *repository) remove(name string) {
	r.t.Helper()
	check(r.t, os.RemoveAll(filepath.Join(r.work(), name)))
}

// push commits everything, pushes, and gives the commit.
func (r *repository) push(message string) string {
	r.t.Helper()
	r.git(r.work(), "add", "-A")
	r.git(r.work(), "commit", "-q", "--allow-empty", "-m", message)
	r.git(r.work(), "push", "-q", "origin", "HEAD:main")
	return r.git(r.work(), "rev-parse", "HEAD")
}

// report reads a file of the cluster's report branch; empty when there is none.
func (r *repository) report(name string) string {
	cmd := exec.Command("git", "show", "refs/heads/headway/headway:"+name)
	cmd.Dir = r.bare()
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return string(out)
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  namespace: default\ndata:\n  key: %s\n", name, value)
}

// source reads a GitSource.
func (s *server) source(name string) *v1alpha1.GitSource {
	var o v1alpha1.GitSource
	if err := s.client.Get(s.t.Context(), client.ObjectKey{Name: name}, &o); err != nil {
		return &v1alpha1.GitSource{}
	}
	return &o
}

// phase says what keeps a commit's release from a phase.
func (s *server) phase(source, commit string, want v1alpha1.ReleasePhase) string {
	var o v1alpha1.Release
	err := s.client.Get(s.t.Context(), client.ObjectKey{Name: v1alpha1.ReleaseName(source, commit)}, &o)
	switch {
	case err != nil:
		return fmt.Sprintf("%v; the source says %+v", err, s.source(source).Status.Conditions)
	case o.Status.Phase != want:
		return fmt.Sprintf("is %s (%s), want %s", o.Status.Phase, o.Status.Message, want)
	}
	return ""
}

func (s *server) awaitPhase(source, commit string, want v1alpha1.ReleasePhase) {
	s.t.Helper()
	eventually(s.t, "release "+commit, func() string { return s.phase(source, commit, want) })
}

// value is the key of a ConfigMap in default, or "-" when there is none.
func (s *server) value(name string) string {
	o, err := s.configMap(name)
	if apierrors.IsNotFound(err) {
		return "-"
	}
	if err != nil {
		return err.Error()
	}
	return o.Data["key"]
}

func (s *server) configMap(name string) (*corev1.ConfigMap, error) {
	var o corev1.ConfigMap
	return &o, s.client.Get(s.t.Context(), client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: name}, &o)
}

func (s *server) values(names ...string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = s.value(n)
	}
	return strings.Join(out, " ")
}

// awaitValues waits until ConfigMaps have values.
func (s *server) awaitValues(want string, names ...string) {
	s.t.Helper()
	eventually(s.t, "values of "+strings.Join(names, " "), func() string {
		if got := s.values(names...); got != want {
			return fmt.Sprintf("are %q, want %q", got, want)
		}
		return ""
	})
}
