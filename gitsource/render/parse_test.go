package render_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// renderFiles commits files with git and renders them.
func renderFiles(t *testing.T, files map[string]string) (*render.Set, []v1alpha1.Problem) {
	t.Helper()
	return renderWith(t, files, func(*config) {})
}

type config = render.Config

// renderWith renders files of a commit of their own.
func renderWith(t *testing.T, files map[string]string, change func(*config)) (*render.Set, []v1alpha1.Problem) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "-m", "x"}} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v %s", args, err, out)
		}
	}
	r, err := repo.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	_, id, err := r.Resolve(v1alpha1.GitReference{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := config{Repo: r, Mode: v1alpha1.RenderAuto, Key: []byte("k")}
	change(&cfg)
	set, problems, err := render.New(cfg).Render(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return set, problems
}

const object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"

func TestProblems(t *testing.T) {
	t.Parallel()
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	for name, c := range map[string]struct{ content, want string }{
		"alias bomb":     {bomb, "with aliases written out"},
		"self reference": {"a: &a [*a]\n", "nested more than"},
		"deep nesting":   {strings.Repeat("[", 9000) + strings.Repeat("]", 9000), "x.yaml"},
		"duplicate keys": {object + "data:\n  a: x\n  a: y\n", `x.yaml:6: the key "a" is there twice`},
		"no kind":        {"apiVersion: v1\nmetadata: {name: x}\n", "has no kind"},
		"not an object":  {"- a\n- b\n", "x.yaml:1: is not an object"},
		"generateName":   {"apiVersion: v1\nkind: Pod\nmetadata: {generateName: x-}\n", "needs a name of its own"},
		"binary":         {"\x00\x01\x02", "x.yaml"},
		"second of two":  {object + "---\nkind: X\n", "x.yaml:5: X: has no apiVersion"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := renderFiles(t, map[string]string{"x.yaml": c.content, "good.yaml": object})
			if len(problems) != 1 || !strings.Contains(problems[0].String(), c.want) {
				t.Fatalf("problems %v, want one with %q", problems, c.want)
			}
		})
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	set, problems := renderFiles(t, map[string]string{"x.yaml": object + `spec:
  on: yes
  quoted: "yes"
  int: 12
  float: 1.5
  date: 2026-03-01
  null: null
  base: &base {a: 1, b: 2}
  merged: {<<: *base, b: 3}
---
# nothing
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Secret
  metadata: {name: one}
- apiVersion: v1
  kind: Secret
  metadata: {name: two}
`, "no.txt": "x", ".github/ci.yaml": "x"})
	if len(problems) > 0 || len(set.Objects) != 3 {
		t.Fatalf("problems %v, objects %v", problems, set)
	}
	got := fmt.Sprint(set.Objects[0].Body.Object["spec"])
	if want := "map[base:map[a:1 b:2] date:2026-03-01 float:1.5 int:12 merged:map[a:1 b:3] null:<nil> on:true quoted:yes]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if o := set.Objects[2]; o.Origin() != "x.yaml:22" || o.Digest == "" || o.Digest == set.Objects[1].Digest {
		t.Errorf("the last is at %s with digest %s", o.Origin(), o.Digest)
	}
}

// TestGeneratedNamesOfHooks: a hook with generateName gets a name that is the
// same as long as the hook is.
func TestGeneratedNamesOfHooks(t *testing.T) {
	t.Parallel()
	hook := "apiVersion: v1\nkind: Pod\nmetadata: {generateName: smoke-, annotations: {argocd.argoproj.io/hook: PostSync}}\nspec: {priority: %d}\n"
	name := func(n int) string {
		set, problems := renderFiles(t, map[string]string{"x.yaml": fmt.Sprintf(hook, n)})
		if len(problems) > 0 || len(set.Objects) != 1 || !set.Objects[0].Hook {
			t.Fatalf("problems %v, set %v", problems, set)
		}
		return set.Objects[0].Body.GetName()
	}
	if one := name(1); !strings.HasPrefix(one, "smoke-") || len(one) != 16 || one != name(1) || one == name(2) {
		t.Errorf("names %s, %s and %s", one, name(1), name(2))
	}
}
