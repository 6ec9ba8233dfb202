package custom_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/custom"
	"github.com/headway-sh/headway/apiserver/kind"
)

const boats = `
metadata: {name: boats.sea.example.com, uid: u1}
spec:
  group: sea.example.com
  scope: Namespaced
  names: {plural: boats, kind: Boat, listKind: BoatList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.crew, statusReplicasPath: .status.crew}}
    additionalPrinterColumns:
    - {name: Length, type: integer, jsonPath: .spec.length}
    - {name: Sails, type: boolean, jsonPath: .spec.sails}
    - {name: Built, type: date, jsonPath: .spec.built}
    selectableFields: [{jsonPath: .spec.color}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-validations: [{rule: '!has(self.length) || self.length > 0'}]
            properties:
              length: {type: integer, default: 7}
              sails: {type: boolean}
              built: {type: string}
              color: {type: string, nullable: true}
              crew: {type: integer}
              cargo: {type: array, items: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}}
              draft: {x-kubernetes-int-or-string: true}
          status: {type: object, properties: {crew: {type: integer}}}
  - name: v2
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {length: {type: integer}}}}}}
  - name: v0
    served: false
    storage: false
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
status:
  acceptedNames: {plural: boats, kind: Boat, listKind: BoatList}
  conditions: [{type: Established, status: "True"}]
`

var begin = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

var resource = schema.GroupResource{Group: "sea.example.com", Resource: "boats"}

// defined is a View that has one definition.
func defined(t testing.TB, text string) txn.View {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict([]byte(text), crd); err != nil {
		t.Fatal(err)
	}
	return viewOf(crd)
}

func viewOf(crd *apiextensionsv1.CustomResourceDefinition) txn.View {
	return txn.Overlay(txn.Empty{}, map[txn.Ref]txn.Object{{Resource: custom.Resource, Name: crd.Name}: crd}, nil)
}

func boat(t testing.TB) *kind.Kind {
	t.Helper()
	row := custom.NewKinds().Row(defined(t, boats), resource, "v1")
	if row == nil {
		t.Fatal("no row")
	}
	return row
}

func TestRowsAreFoundOnTheView(t *testing.T) {
	t.Parallel()
	kinds, view := custom.NewKinds(), defined(t, boats)
	for version, want := range map[string]bool{"v1": true, "v2": true, "v0": false, "v3": false, "": true} {
		if got := kinds.Row(view, resource, version) != nil; got != want {
			t.Errorf("version %q is found: %v", version, got)
		}
	}
	if kinds.Row(txn.Empty{}, resource, "v1") != nil {
		t.Error("found where nothing is defined")
	}
	if k := kinds.ByGVK(view, schema.GroupVersionKind{Group: "sea.example.com", Version: "v2", Kind: "Boat"}); k == nil || k.Stored().GVK.Version != "v1" {
		t.Errorf("by kind: %+v", k)
	}
	if m, err := kinds.RESTMapping(view, schema.GroupKind{Group: "sea.example.com", Kind: "Boat"}, "v2"); err != nil || m.Resource.Version != "v2" {
		t.Errorf("mapped to %+v %v", m, err)
	}
}

// TestRowsAreShared: a definition whose status changes keeps what was compiled,
// one with another spec does not.
func TestRowsAreShared(t *testing.T) {
	t.Parallel()
	kinds := custom.NewKinds()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict([]byte(boats), crd); err != nil {
		t.Fatal(err)
	}
	first := kinds.Row(viewOf(crd), resource, "v1")
	labelled := crd.DeepCopy()
	labelled.Labels = map[string]string{"a": "b"}
	if kinds.Row(viewOf(labelled), resource, "v1") != first {
		t.Error("a label makes a new row")
	}
	named := crd.DeepCopy()
	named.Status.AcceptedNames.ShortNames = []string{"b"}
	if next := kinds.Row(viewOf(named), resource, "v1"); next == first || next.Shape != first.Shape {
		t.Error("a name must make a new row of the same shape")
	}
	changed := crd.DeepCopy()
	changed.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["more"] = apiextensionsv1.JSONSchemaProps{Type: "string"}
	if kinds.Row(viewOf(changed), resource, "v1").Shape == first.Shape {
		t.Error("another schema has the old shape")
	}
	other := crd.DeepCopy()
	other.UID = types.UID("u2")
	other.Status.Conditions = nil
	if kinds.Row(viewOf(other), resource, "v1") != nil {
		t.Error("served before it is established")
	}
}

func TestStoredObjectsAreBroughtIntoShape(t *testing.T) {
	t.Parallel()
	k := boat(t)
	for _, c := range []struct{ name, stored, want string }{
		{"default and prune", `{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"a"},"spec":{"old":1}}`,
			`{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"a"},"spec":{"length":7}}`},
		{"older version", `{"apiVersion":"sea.example.com/v0","kind":"Boat","metadata":{"name":"a"},"spec":{"length":2}}`,
			`{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"a"},"spec":{"length":2}}`},
		{"malformed metadata", `{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"a","labels":5},"spec":{"length":2}}`,
			`{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"a"},"spec":{"length":2}}`},
		{"null", `{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"a"},"spec":{"length":null,"color":null}}`,
			`{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"a"},"spec":{"length":7,"color":null}}`},
		{"embedded", `{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"a"},"spec":{"length":1,"cargo":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","odd":1},"spec":{}}]}}`,
			`{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"a"},"spec":{"length":1,"cargo":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{}}]}}`},
	} {
		got, err := k.Decode([]byte(c.stored))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want := &unstructured.Unstructured{}
		if err := json.Unmarshal([]byte(c.want), want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestColumnsShowWhatIsThere(t *testing.T) {
	t.Parallel()
	k := boat(t)
	for stored, want := range map[string][]any{
		`{"length":3,"sails":true,"built":"2025-01-01T00:00:00Z"}`: {"a", int64(3), true, "0s"},
		`{"length":3.5,"sails":"yes","built":"once"}`:              {"a", int64(3), nil, "<invalid>"},
		`{"length":"long"}`: {"a", nil, nil, nil},
	} {
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal([]byte(`{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"a"},"spec":`+stored+`}`), u); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, k.Row(u, begin)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", stored, diff)
		}
	}
}

// FuzzContent takes anything through everything that touches a custom resource:
// nothing panics, and what was brought into shape once stays as it is.
func FuzzContent(f *testing.F) {
	for _, seed := range []string{
		`{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"a"},"spec":{"length":1,"cargo":[{"kind":"X"}],"draft":"2"}}`,
		`{"apiVersion":"sea.example.com/v2","kind":"Boat","metadata":null,"spec":[]}`,
		`{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"a","labels":{"a":1}},"spec":null,"status":{"crew":-1}}`,
		`{"apiVersion":"sea.example.com/v1","kind":"Boat","spec":{"cargo":{"a":[[[]]]},"length":1e99}}`,
	} {
		f.Add([]byte(seed))
	}
	k := boat(f)
	f.Fuzz(func(t *testing.T, stored []byte) {
		o, err := k.Decode(stored)
		if err != nil {
			return
		}
		again := o.DeepCopyObject().(txn.Object)
		k.Default(again)
		if diff := cmp.Diff(o, again); diff != "" {
			t.Fatalf("shaped twice (-once +twice):\n%s", diff)
		}
		k.Row(o, begin)
		k.Fields["spec.color"](o)
		k.Validate(o, nil)
		k.Validate(o, again)
		_, _ = k.Subresources["scale"].Get(o) // an error is as good as a scale
		v2, _ := k.In(schema.GroupVersion{Group: "sea.example.com", Version: "v2"})
		if _, err := v2.FromStored(o); err != nil {
			t.Fatal(err)
		}
		sent := &unstructured.Unstructured{}
		if sent.UnmarshalJSON(stored) == nil {
			_, _ = k.Accept(sent) // metadata may be malformed
		}
	})
}
