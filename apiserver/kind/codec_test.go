package kind_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// custom is a kind of custom resources, which have no Go type.
func custom() *kind.Kind {
	return &kind.Kind{
		GVK:        schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"},
		Plural:     "widgets",
		Namespaced: true,
		New:        func() txn.Object { return &unstructured.Unstructured{} },
		Name: func(name string, _ bool) []string {
			if name == "bad" {
				return []string{"is bad"}
			}
			return nil
		},
	}
}

func widget(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget",
		"metadata": map[string]any{"name": name, "namespace": "shop", "resourceVersion": "7"},
		"spec":     map[string]any{"size": int64(3)},
	}}
}

func TestCustomResourcesAreStoredAsJSON(t *testing.T) {
	t.Parallel()
	k, o := custom(), widget("w")
	stored, err := k.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	if o.GetResourceVersion() != "7" {
		t.Error("Encode changed the object")
	}
	got, err := k.Decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	want := widget("w")
	want.SetResourceVersion("")
	if diff := cmp.Diff(want.Object, got.(*unstructured.Unstructured).Object); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, broken := range []string{"", "{}", "k8s\x00", `{"apiVersion":"example.com/v1","kind":"Gadget"}`} {
		if _, err := k.Decode([]byte(broken)); err == nil {
			t.Errorf("%q decodes", broken)
		}
	}
}

func TestValidateMetaAsksTheKind(t *testing.T) {
	t.Parallel()
	k := custom()
	if errs := k.ValidateMeta(widget("w"), nil); len(errs) > 0 {
		t.Errorf("refused: %v", errs.ToAggregate())
	}
	if errs := k.ValidateMeta(widget("bad"), nil); len(errs) != 1 || errs[0].Error() != `metadata.name: Invalid value: "bad": is bad` {
		t.Errorf("errors: %v", errs.ToAggregate())
	}
	renamed := widget("other")
	if errs := k.ValidateMeta(renamed, widget("w")); len(errs) != 1 || errs[0].Field != "metadata.name" {
		t.Errorf("renaming: %v", errs.ToAggregate())
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	now := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for want, ago := range map[string]time.Duration{"30s": 30 * time.Second, "5m": 5 * time.Minute, "3d2h": 74 * time.Hour} {
		if got := kind.Age(metav1.NewTime(now.Add(-ago)), now); got != want {
			t.Errorf("Age(%s) = %s, want %s", ago, got, want)
		}
	}
	if got := kind.Age(metav1.Time{}, now); got != "<unknown>" {
		t.Errorf("Age of nothing is %s", got)
	}
}
