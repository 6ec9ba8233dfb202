package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestDiffOfTwoCommits compares what two commits render to, with no cluster
// there, and tells no values of Secrets.
func TestDiffOfTwoCommits(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("KUBECONFIG", "/nonexistent")
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+dir, "GIT_AUTHOR_NAME=J", "GIT_AUTHOR_EMAIL=j@x", "GIT_COMMITTER_NAME=J", "GIT_COMMITTER_EMAIL=j@x")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q", "-b", "main")
	write("web.yaml", vetGood)
	write("one.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n")
	git("add", "-A")
	git("commit", "-q", "-m", "first")
	write("web.yaml", strings.NewReplacer("web:1", "web:2", "hunter2-plain", "hunter3-plain").Replace(vetGood))
	git("mv", "one.yaml", "moved.yaml")
	write("two.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n")
	git("add", "-A")
	git("commit", "-q", "-m", "second")

	run := func(want int, args ...string) string {
		t.Helper()
		root := newRoot()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(append([]string{"diff"}, args...))
		err := root.ExecuteContext(t.Context())
		var code exitCode
		errors.As(err, &code)
		if code.code != want || err != nil && want == 0 {
			t.Fatalf("diff %v: %v, want exit status %d\n%s", args, err, want, out.String())
		}
		return out.String()
	}
	got := run(exitDiffers, "HEAD~1", "HEAD")
	for _, line := range []string{
		"= ConfigMap one  (moved.yaml:1, moved from one.yaml)", "+ ConfigMap two  (two.yaml:1)",
		`    spec.template.spec.containers[name="web"].image: "web:1" → "web:2"`, "1 created, 2 changed, 0 deleted",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in:\n%s", line, got)
		}
	}
	if strings.Contains(got, "hunter") {
		t.Errorf("a Secret is shown:\n%s", got)
	}
	if got := run(exitDiffers, "HEAD", "HEAD~1"); !strings.Contains(got, "- ConfigMap two") {
		t.Errorf("the other way round:\n%s", got)
	}
	run(exitOK, "HEAD", "HEAD")
	write("bad.yaml", "kind: [")
	git("add", "-A")
	git("commit", "-q", "-m", "bad")
	run(exitRejected, "HEAD~1", "HEAD")
}
