package kinds_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
)

// TestStorageEncoding holds the own envelope against the library's: what we
// write is the same bytes, what it writes we read, for random objects of every
// kind; and JSON tells the same story.
func TestStorageEncoding(t *testing.T) {
	t.Parallel()
	scheme, err := kinds.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	library := protobuf.NewSerializer(scheme, scheme)
	for _, k := range kinds.All() {
		t.Run(k.GVK.Kind, func(t *testing.T) {
			t.Parallel()
			fill := filler(int64(len(k.Plural)))
			for range 8 {
				o := k.New()
				fill.Fill(o)
				o.SetResourceVersion("")
				o.GetObjectKind().SetGroupVersionKind(k.GVK)
				checkStorage(t, k, library, o)
				checkJSON(t, k, o)
			}
		})
	}
}

func checkStorage(t *testing.T, k *kind.Kind, library runtime.Serializer, o txn.Object) {
	t.Helper()
	ours, err := k.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	stored := ours
	if ours[0] != '{' {
		var theirs bytes.Buffer
		if err := library.Encode(o, &theirs); err != nil {
			t.Fatal(err)
		}
		if stored = theirs.Bytes(); !bytes.Equal(ours, stored) {
			t.Fatalf("encoding differs from the library's:\n%x\n%x", ours, stored)
		}
	} else if strings.HasSuffix(k.GVK.Group, ".k8s.io") || !strings.Contains(k.GVK.Group, ".") {
		t.Fatal("one of Kubernetes' kinds is stored as JSON")
	}
	back, err := k.Decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	if diff := diffObjects(defaulted(k, o), back); diff != "" {
		t.Fatalf("round trip (-want +got):\n%s", diff)
	}
	versioned := o.DeepCopyObject().(txn.Object)
	versioned.SetResourceVersion("17")
	again, err := k.Encode(versioned)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, again) {
		t.Fatal("the resourceVersion is stored")
	}
	if versioned.GetResourceVersion() != "17" {
		t.Fatal("Encode changed the object")
	}
}

func checkJSON(t *testing.T, k *kind.Kind, o txn.Object) {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	back, err := k.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := diffObjects(defaulted(k, o), back); diff != "" {
		t.Fatalf("JSON round trip (-want +got):\n%s", diff)
	}
}

// TestSubresourceEncoding takes random objects of every subresource's own type
// through both forms in which clients send them.
func TestSubresourceEncoding(t *testing.T) {
	t.Parallel()
	scheme, err := kinds.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	library := protobuf.NewSerializer(scheme, scheme)
	seen := 0
	for _, k := range kinds.All() {
		for name, s := range k.Subresources {
			if s.GVK.Kind == "" || s.GVK == k.GVK || strings.HasSuffix(s.GVK.Kind, "Options") { // options come as parameters of a URL
				continue
			}
			seen++
			t.Run(k.Plural+"/"+name, func(t *testing.T) {
				t.Parallel()
				fill := filler(int64(len(name)))
				for range 8 {
					o, err := scheme.New(s.GVK)
					if err != nil {
						t.Fatal(err)
					}
					fill.Fill(o)
					o.GetObjectKind().SetGroupVersionKind(s.GVK)
					checkForms(t, scheme, library, o.(txn.Object))
				}
			})
		}
	}
	if seen < 5 {
		t.Errorf("only %d subresources have a type of their own", seen)
	}
}

func checkForms(t *testing.T, scheme *runtime.Scheme, library runtime.Serializer, o txn.Object) {
	t.Helper()
	again := func() txn.Object {
		back, err := scheme.New(o.GetObjectKind().GroupVersionKind())
		if err != nil {
			t.Fatal(err)
		}
		return back.(txn.Object)
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	fromJSON := again()
	if err := json.Unmarshal(b, fromJSON); err != nil {
		t.Fatal(err)
	}
	if diff := diffObjects(o, fromJSON); diff != "" {
		t.Fatalf("JSON round trip (-want +got):\n%s", diff)
	}
	var wire bytes.Buffer
	if err := library.Encode(o, &wire); err != nil {
		t.Fatal(err)
	}
	fromWire, _, err := library.Decode(wire.Bytes(), nil, again())
	if err != nil {
		t.Fatal(err)
	}
	fromWire.GetObjectKind().SetGroupVersionKind(o.GetObjectKind().GroupVersionKind())
	if diff := diffObjects(o, fromWire.(txn.Object)); diff != "" {
		t.Fatalf("protobuf round trip (-want +got):\n%s", diff)
	}
}

// defaulted is a copy as reading gives it back.
func defaulted(k *kind.Kind, o txn.Object) txn.Object {
	c := o.DeepCopyObject().(txn.Object)
	if k.Default != nil {
		k.Default(c)
	}
	return c
}

func diffObjects(want, got txn.Object) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b resource.Quantity) bool { return a.Cmp(b) == 0 }),
		cmp.Comparer(func(a, b metav1.Time) bool { return a.Equal(&b) }), cmp.Comparer(func(a, b metav1.MicroTime) bool { return a.Equal(&b) }))
}

// filler makes random values that survive both wire forms.
func filler(seed int64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(0.4).NumElements(1, 2).MaxDepth(12).Funcs(
		// The type of an object inside another one is not stored.
		func(*metav1.TypeMeta, randfill.Continue) {},
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewQuantity(c.Int63n(1000), resource.DecimalSI)
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			*v = intstr.FromInt32(c.Int31())
			if c.Bool() {
				*v = intstr.FromString(c.String(8))
			}
		},
		func(m *metav1.Time, c randfill.Continue) { *m = metav1.Unix(c.Int63n(1<<32), 0) },
		func(m *metav1.MicroTime, c randfill.Continue) {
			*m = metav1.MicroTime(metav1.Unix(c.Int63n(1<<32), 1000))
		},
		func(m *metav1.FieldsV1, _ randfill.Continue) { m.Raw = []byte(`{"f:metadata":{}}`) },
		// A schema refers to itself in every way there is.
		func(s *apiextensionsv1.JSONSchemaProps, c randfill.Continue) {
			s.Type, s.Description, s.Default = "integer", c.String(8), &apiextensionsv1.JSON{Raw: []byte("1")}
		},
		func(r *runtime.RawExtension, _ randfill.Continue) { r.Raw = []byte(`{"a":1}`) },
	)
}

func TestDecodeRefusesWhatIsBroken(t *testing.T) {
	t.Parallel()
	table := newTable(t)
	pods, secrets := table.ByName("pods")[0], table.ByName("secrets")[0]
	good, err := pods.Encode(pods.New())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Decode(good); err == nil {
		t.Error("a Secret decodes from a Pod")
	}
	for n := 1; n < len(good)-4; n++ {
		if _, err := pods.Decode(good[:n]); err == nil {
			t.Errorf("the first %d bytes decode", n)
		}
	}
	if _, err := pods.Decode([]byte("k8s\x00\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")); err == nil {
		t.Error("an endless length decodes")
	}
}
