package main

import (
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/bundle"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// TestBundleListsWhatItRenders: what a bundle lists has to be what its commit
// renders to, and what is not is named with its file.
func TestBundleListsWhatItRenders(t *testing.T) {
	t.Parallel()
	git := cloneOf(t, map[string]string{"apps/web.yaml": shopWeb, "secret.yaml": shopSecret, "cm.yaml": movable})
	r, err := repo.Open(git.dir)
	ok(t, err)
	defer func() { ok(t, r.Close()) }()
	id, err := repo.ParseID(git.run("rev-parse", "HEAD"))
	ok(t, err)
	source := v1alpha1.GitSource{}
	v1alpha1.SetDefaultsGitSource(&source)
	cfg, err := offlineRendering(&source.Spec, r, "main", "")
	ok(t, err)
	set, err := renderWhole(t.Context(), render.New(cfg), id)
	ok(t, err)
	for name, c := range map[string]struct {
		change func([]bundle.Object) []bundle.Object
		want   string
	}{
		"as it is": {func(o []bundle.Object) []bundle.Object { return o }, ""},
		"changed": {func(o []bundle.Object) []bundle.Object {
			for i := range o {
				if o[i].Kind == "Deployment" {
					o[i].SHA256 = strings.Repeat("0", 64)
				}
			}
			return o
		}, "apps/web.yaml:2: Deployment web is another one than listed"},
		"one less": {func(o []bundle.Object) []bundle.Object { return o[1:] }, "is not in the list"},
		"one more": {func(o []bundle.Object) []bundle.Object {
			return append(o, bundle.Object{APIVersion: "v1", Kind: "Pod", Name: "evil", Origin: "evil.yaml:1"})
		}, "evil.yaml:1: Pod evil is listed, and nothing makes it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listed, err := bundle.Objects(set)
			ok(t, err)
			err = unlike(c.change(listed), set)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestBundleStandsInForARemote: what cannot be fetched comes in a bundle, where
// the source says so; it goes forward only, and the source still tells that its
// remote is away.
func TestBundleStandsInForARemote(t *testing.T) {
	t.Parallel()
	git := cloneOf(t, map[string]string{"cm.yaml": movable})
	there := island(t)
	dir := t.TempDir()
	one, two, stands := filepath.Join(dir, "one"), filepath.Join(dir, "two"), filepath.Join(dir, "stands.bundle")
	say := func(want int, args ...string) string {
		t.Helper()
		stdout, stderr := there.say(want, args...)
		return stdout + stderr
	}
	create := func(file string, more ...string) string {
		t.Helper()
		say(exitOK, append([]string{"bundle", "create", "HEAD", "-C", git.dir, "-o", file}, more...)...)
		return git.run("rev-parse", "HEAD")
	}
	first := create(one)
	git.write("cm.yaml", strings.Replace(movable, "movable", "moved", 1))
	git.commit("two")
	second := create(two)
	ctx := t.Context()
	ok(t, there.client.Create(ctx, &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: v1alpha1.GitSourceSpec{
		URL: "https://127.0.0.1:1/away.git", Ref: v1alpha1.GitReference{Branch: "main"}}}))
	apply := func(want int, file string) string {
		t.Helper()
		return say(want, "bundle", "apply", "--data-dir", dir, "--insecure-unsigned", "--timeout", "60s", file)
	}
	contains(t, apply(exitError, one), "spec.fallback")
	source := &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "main"}}
	ok(t, there.client.Patch(ctx, source, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"fallback":"`+stands+`"}}`))))
	contains(t, apply(exitOK, one), "which is read while https://127.0.0.1:1/away.git is away")
	at := func(want string) {
		t.Helper()
		ok(t, there.client.Get(ctx, client.ObjectKey{Name: "main"}, source))
		if c := meta.FindStatusCondition(source.Status.Conditions, v1alpha1.ConditionFetched); source.Status.AppliedCommit != want || c == nil || c.Status != "False" {
			t.Errorf("applied is %s, want %s; fetched: %+v", source.Status.AppliedCommit, want, c)
		}
	}
	at(first)
	apply(exitOK, two)
	at(second)
	apply(exitOK, one) // which is of the past, and moves nothing
	at(second)
}
