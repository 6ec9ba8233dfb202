package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/custom"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/apiserver/store"
)

const kites = `
metadata: {name: kites.wind.example.com, uid: u1}
spec:
  group: wind.example.com
  scope: Namespaced
  names: {plural: kites, kind: Kite, listKind: KiteList}
  versions:
  - name: v1
    served: true
    storage: true
    selectableFields: [{jsonPath: .spec.color}]
    schema: {openAPIV3Schema: &schema {type: object, properties: {spec: {type: object, properties: {color: {type: string}, lines: {type: integer}}}}}}
  - name: v2
    served: true
    storage: false
    selectableFields: [{jsonPath: .spec.lines}]
    schema: {openAPIV3Schema: *schema}
status:
  acceptedNames: {plural: kites, kind: Kite, listKind: KiteList}
  conditions: [{type: Established, status: "True"}]
`

const kitesOf = "/apis/wind.example.com/v1/namespaces/shop/kites"

var kiteResource = schema.GroupResource{Group: "wind.example.com", Resource: "kites"}

// kiteWorld is a world with a definition and n kites of it, one in a hundred of
// which is blue; the rest is red.
type kiteWorld struct {
	*world
	catalog    *custom.Catalog
	definition *apiextensionsv1.CustomResourceDefinition
}

func newKiteWorld(t testing.TB, n int) *kiteWorld {
	t.Helper()
	w := &kiteWorld{definition: &apiextensionsv1.CustomResourceDefinition{}}
	w.world = newWorld(t, func(c *rest.Config) {
		w.catalog = c.Kinds.(*custom.Catalog)
		w.catalog.Follower = &custom.Follower{Kinds: w.catalog.Kinds, Store: c.Reader.(*store.Store)}
	})
	check(t, yaml.UnmarshalStrict([]byte(kites), w.definition))
	w.define(0)
	var writes []store.Write
	for i := range n {
		color := "red"
		if i%100 == 0 {
			color = "blue"
		}
		writes = append(writes, w.kite(i, color))
		if len(writes) == 1000 || i == n-1 {
			_, err := w.store.Txn(t.Context(), store.Txn{Writes: writes})
			check(t, err)
			writes = nil
		}
	}
	return w
}

// define writes the definition in its present state.
func (w *kiteWorld) define(expect int64) {
	w.t.Helper()
	ref := txn.Ref{Resource: custom.Resource, Name: w.definition.Name}
	_, err := w.store.Txn(w.t.Context(), store.Txn{Writes: []store.Write{{Ref: ref, Object: w.definition.DeepCopy(), Expect: expect}}})
	check(w.t, err)
	check(w.t, w.catalog.Attach(w.t.Context(), w.catalog.Row(w.store.Snapshot(), kiteResource, "")))
}

// redefine changes the stored definition.
func (w *kiteWorld) redefine(change func(*apiextensionsv1.CustomResourceDefinitionSpec)) {
	w.t.Helper()
	change(&w.definition.Spec)
	w.define(w.store.Snapshot().Entry(txn.Ref{Resource: custom.Resource, Name: w.definition.Name}).Revision)
}

func (w *kiteWorld) kite(i int, color string) store.Write {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"color": color, "lines": int64(i % 4)}}}
	u.SetAPIVersion("wind.example.com/v1")
	u.SetKind("Kite")
	u.SetNamespace("shop")
	u.SetName(fmt.Sprintf("k%05d", i))
	ref := txn.Ref{Resource: kiteResource, Namespace: "shop", Name: u.GetName()}
	write := store.Write{Ref: ref, Object: u}
	if e := w.store.Snapshot().Entry(ref); e != nil {
		write.Expect = e.Revision
	}
	return write
}

func (w *kiteWorld) write(writes ...store.Write) {
	w.t.Helper()
	_, err := w.store.Txn(w.t.Context(), store.Txn{Writes: writes})
	check(w.t, err)
}

// counted counts from now on how many objects are asked for their color by
// lists and watches.
func (w *kiteWorld) counted() *atomic.Int64 {
	w.t.Helper()
	row := w.catalog.Row(w.store.Snapshot(), kiteResource, "v1")
	count, color := new(atomic.Int64), row.Fields["spec.color"]
	row.Fields["spec.color"] = func(o txn.Object) string {
		count.Add(1)
		return color(o)
	}
	return count
}

// names are those of a list.
func (w *kiteWorld) names(path string) []string {
	w.t.Helper()
	response := w.get(path)
	if response.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %s", path, response.Status)
	}
	var list metav1.PartialObjectMetadataList
	check(w.t, json.NewDecoder(response.Body).Decode(&list))
	names := make([]string, len(list.Items))
	for i, o := range list.Items {
		names[i] = o.Name
	}
	return names
}

// TestSelectableFieldsAreIndexed: who lists or watches custom resources by a
// selectable field looks at those that match, not at all that there are.
func TestSelectableFieldsAreIndexed(t *testing.T) {
	w := newKiteWorld(t, 500)
	count := w.counted()
	if got := w.names(kitesOf + "?fieldSelector=spec.color%3Dblue"); fmt.Sprint(got) != "[k00000 k00100 k00200 k00300 k00400]" {
		t.Errorf("blue are %v", got)
	}
	if n := count.Load(); n != 5 {
		t.Errorf("the list looked at %d objects, want 5", n)
	}
	if got := w.names(kitesOf + "?fieldSelector=spec.color!%3Dred&limit=2"); fmt.Sprint(got) != "[k00000 k00100]" {
		t.Errorf("not red are %v", got)
	}

	count.Store(0)
	events := w.get(kitesOf + "?watch=1&resourceVersion=" + fmt.Sprint(w.store.Snapshot().Revision()) + "&fieldSelector=spec.color%3Dblue")
	for i := 1; i < 100; i++ { // nobody's concern
		w.write(w.kite(i, "green"))
	}
	w.write(w.kite(1, "blue"))
	w.write(w.kite(100, "red"))
	gone := w.kite(200, "")
	gone.Object = nil
	w.write(gone)
	w.write(w.kite(0, "blue"))
	if got := summary(frames(t, events, 4)); got != "ADDED k00001, DELETED k00100, DELETED k00200, MODIFIED k00000" {
		t.Errorf("watched %s", got)
	}
	if n := count.Load(); n > 8 {
		t.Errorf("the watch looked at %d objects for 4 events", n)
	}
	if got := w.names(kitesOf + "?fieldSelector=spec.color%3Dblue"); fmt.Sprint(got) != "[k00000 k00001 k00300 k00400]" {
		t.Errorf("blue are now %v", got)
	}
}

// TestIndexesFollowTheDefinition: they come and go with the fields that a
// version makes selectable, and no request fails in between.
func TestIndexesFollowTheDefinition(t *testing.T) {
	w := newKiteWorld(t, 8)
	second := "/apis/wind.example.com/v2/namespaces/shop/kites?fieldSelector=spec.lines%3D3"
	if got := w.names(second); fmt.Sprint(got) != "[k00003 k00007]" {
		t.Errorf("of v2: %v", got)
	}
	before := w.catalog.Row(w.store.Snapshot(), kiteResource, "v1")
	events := w.get(kitesOf + "?watch=1&resourceVersion=" + fmt.Sprint(w.store.Snapshot().Revision()) + "&fieldSelector=spec.color%3Dblue")
	w.redefine(func(s *apiextensionsv1.CustomResourceDefinitionSpec) { s.Versions[0].SelectableFields = nil })
	if got := frames(t, events, 1)[0]; got.Type != "ERROR" || got.Object.Code != http.StatusGone {
		t.Errorf("a watch by a field that is not selectable any longer ends with %+v", got)
	}
	if w.store.Snapshot().HasIndex(kiteResource, "spec.color") || !w.store.Snapshot().HasIndex(kiteResource, "spec.lines") {
		t.Error("the store has kept the index, or lost another version's")
	}
	if response := w.get(kitesOf + "?fieldSelector=spec.color%3Dblue"); response.StatusCode != http.StatusBadRequest {
		t.Errorf("a selector by it is answered with %s", response.Status)
	}
	if _, err := w.store.Watch(t.Context(), store.WatchOptions{Resource: kiteResource, Index: "spec.color", IndexValue: "blue"}); !store.IsExpired(err) {
		t.Errorf("a watch that knew the row before: %v", err)
	}
	w.redefine(func(s *apiextensionsv1.CustomResourceDefinitionSpec) {
		s.Versions[0].SelectableFields = []apiextensionsv1.SelectableField{{JSONPath: ".spec.color"}}
	})
	if got := w.names(kitesOf + "?fieldSelector=spec.color%3Dblue"); fmt.Sprint(got) != "[k00000]" {
		t.Errorf("selectable again: %v", got)
	}
	if w.catalog.Row(w.store.Snapshot(), kiteResource, "v1") == before {
		t.Error("the row is the one of before the changes")
	}
}

// BenchmarkListSelectable lists the hundred of ten thousand that match.
func BenchmarkListSelectable(b *testing.B) {
	w := newKiteWorld(b, 10_000)
	for name, selector := range map[string]string{"index": "spec.color%3Dblue", "scan": "spec.color!%3Dred"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodGet, kitesOf+"?resourceVersion=0&fieldSelector="+selector, nil)
				r.Header.Set("Test-User", "alice")
				w.handler.ServeHTTP(&discard{header: http.Header{}}, r)
			}
		})
	}
}
