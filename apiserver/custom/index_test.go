package custom_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/custom"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/store/memkv"
	"github.com/headway-sh/headway/apiserver/write"
)

type everybody struct{}

func (everybody) Authorize(txn.View, txn.Identity, write.Attributes) write.Decision {
	return write.Decision{Allowed: true}
}

func colored(name, color string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"color": color}}}
	u.SetAPIVersion("sea.example.com/v1")
	u.SetKind("Boat")
	u.SetNamespace("port")
	u.SetName(name)
	return u
}

// TestIndexesShowPendingChanges: an admission step that looks for custom
// resources by a selectable field sees what the same plan has changed before.
func TestIndexesShowPendingChanges(t *testing.T) {
	t.Parallel()
	rows := slices.DeleteFunc(kinds.All(), func(k *kind.Kind) bool { return k.Resource() != custom.Resource })
	crds := rows[0]
	s, err := store.Open(t.Context(), store.Config{Backend: memkv.New(), Logger: slog.New(slog.DiscardHandler), Resources: []store.Resource{{
		Resource: custom.Resource, Prefix: "/registry/" + crds.StoragePrefix + "/", Encode: crds.Encode, Decode: crds.Decode}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict([]byte(boats), crd); err != nil {
		t.Fatal(err)
	}
	ref := func(name string) txn.Ref { return txn.Ref{Resource: resource, Namespace: "port", Name: name} }
	defined := custom.NewKinds()
	catalog := &custom.Catalog{Kinds: defined, Follower: &custom.Follower{Kinds: defined, Store: s}}
	if _, err := s.Txn(ctx, store.Txn{Writes: []store.Write{{Ref: txn.Ref{Resource: custom.Resource, Name: crd.Name}, Object: crd}}}); err != nil {
		t.Fatal(err)
	}
	if err := catalog.Attach(ctx, catalog.Row(s.Snapshot(), resource, "")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Txn(ctx, store.Txn{Writes: []store.Write{{Ref: ref("a"), Object: colored("a", "blue")}, {Ref: ref("b"), Object: colored("b", "blue")},
		{Ref: ref("c"), Object: colored("c", "red")}}}); err != nil {
		t.Fatal(err)
	}
	var seen [][]string
	scheme, err := kinds.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	path, err := write.New(write.Config{Store: write.OnStore(s), Kinds: rows, Custom: catalog, Authorizer: everybody{}, Scheme: scheme,
		Steps: []write.Step{{Name: "Blue", Validate: func(_ context.Context, view txn.View, _ *write.Request) error {
			var names []string
			for o := range view.EachIndexed(resource, "spec.color", "blue") {
				names = append(names, o.GetName())
			}
			slices.Sort(names)
			seen = append(seen, names)
			return nil
		}}}})
	if err != nil {
		t.Fatal(err)
	}
	change := func(verb txn.Verb, name, color string) txn.Change {
		return txn.Change{Verb: verb, Ref: ref(name), Object: colored(name, color), FieldManager: "test"}
	}
	result, err := path.Plan(ctx, s.Snapshot(), txn.Identity{Name: "alice"}, []txn.Change{
		change(txn.Create, "d", "blue"), change(txn.Update, "a", "red"), change(txn.Update, "c", "blue"), {Verb: txn.Delete, Ref: ref("b")},
		change(txn.Create, "e", "red"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range result.Outcomes {
		if o.Err != nil {
			t.Errorf("%s %s: %v", o.Change.Verb, o.Change.Ref.Name, o.Err)
		}
	}
	want := [][]string{{"a", "b"}, {"a", "b", "d"}, {"b", "d"}, {"b", "c", "d"}, {"c", "d"}}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("blue before each change (-want +got):\n%s", diff)
	}
}
