package kinds_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
)

func TestTableFindsEveryKind(t *testing.T) {
	t.Parallel()
	table := newTable(t)
	scheme, err := kinds.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range table.All() {
		if got, _ := table.ByGVK(k.GVK); got != k {
			t.Errorf("ByGVK(%s) finds %v", k.GVK, got)
		}
		if got, _ := table.ByGVR(k.GVR()); got != k {
			t.Errorf("ByGVR(%s) finds %v", k.GVR(), got)
		}
		if got, _ := table.ByResource(k.Resource()); got != k {
			t.Errorf("ByResource(%s) finds %v", k.Resource(), got)
		}
		for _, name := range append([]string{k.Plural, k.Singular, k.GVK.Kind}, k.ShortNames...) {
			if got := table.ByName(name); len(got) != 1 || got[0] != k {
				t.Errorf("ByName(%q) finds %d kinds, want %s alone", name, len(got), k.GVK)
			}
		}
		if k.Singular != strings.ToLower(k.GVK.Kind) {
			t.Errorf("%s: singular %q", k.GVK, k.Singular)
		}
		if gvks, _, err := scheme.ObjectKinds(k.New()); err != nil || gvks[0] != k.GVK {
			t.Errorf("%s: New makes %v, %v", k.GVK, gvks, err)
		}
		list := k.GVK.GroupVersion().WithKind(k.GVK.Kind + "List")
		if gvks, _, err := scheme.ObjectKinds(k.NewList()); err != nil || gvks[0] != list {
			t.Errorf("%s: NewList makes %v, %v", k.GVK, gvks, err)
		}
	}
}

func TestTableRefusesDoubles(t *testing.T) {
	t.Parallel()
	row := func(kindName, plural, prefix string) *kind.Kind {
		return &kind.Kind{GVK: schema.GroupVersionKind{Version: "v1", Kind: kindName}, Plural: plural, StoragePrefix: prefix}
	}
	for name, second := range map[string]*kind.Kind{
		"resource": row("B", "as", "bs"), "kind": row("A", "bs", "bs"), "storage prefix": row("B", "bs", "as"),
	} {
		if _, err := kinds.New([]*kind.Kind{row("A", "as", "as"), second}); err == nil {
			t.Errorf("two rows with one %s make a table", name)
		}
	}
}

// newTable is the table of all rows.
func newTable(t testing.TB) *kinds.Table {
	t.Helper()
	table, err := kinds.New(kinds.All())
	if err != nil {
		t.Fatal(err)
	}
	return table
}
