package main

import (
	"strings"
	"testing"

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
