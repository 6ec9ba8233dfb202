package gitsource_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/rendered"
	"github.com/headway-sh/headway/gitsource/repo"
)

// TestCompareHidesWhatWasEncrypted: a commit's objects are kept with what was
// encrypted in it, so that nobody is shown it in whatever kind it ended up.
func TestCompareHidesWhatWasEncrypted(t *testing.T) {
	t.Parallel()
	store, err := rendered.Open(t.TempDir(), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	kept := func(n byte, digest, value string) *render.Set {
		t.Helper()
		o := &render.Object{File: "a.yaml", Line: 1, Digest: strings.Repeat(digest, 32), Body: &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "data": map[string]any{"url": "db://" + value + "@host"},
		}}}
		if err := store.Put("main", render.Restored(repo.ID{n}, []*render.Object{o}, []string{value}), time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
		set, err := store.Get("main", repo.ID{n})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	from, to := kept(1, "a", "hunter2-plain"), kept(2, "b", "hunter3-plain")
	outcomes, counts := gitsource.Compare(from, to, nil)
	if counts.Changed != 1 || len(outcomes) != 1 || len(outcomes[0].Fields) != 1 {
		t.Fatalf("%+v", outcomes)
	}
	if f := outcomes[0].Fields[0]; !strings.Contains(f.Before, "db://(encrypted)@host") || !strings.Contains(f.After, "db://(encrypted)@host") {
		t.Errorf("it shows %+v", f)
	}
}
