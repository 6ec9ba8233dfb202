package write_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kinds"
	"github.com/headway-sh/headway/apiserver/write"
)

var (
	start      = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	configMaps = schema.GroupResource{Resource: "configmaps"}
	pods       = schema.GroupResource{Resource: "pods"}
	alice      = txn.Identity{Name: "alice", UserAgent: "kubectl/v1.37"}
)

// allow lets everybody do everything but what it names as "verb resource".
type allow map[string]bool

func (a allow) Authorize(_ txn.View, _ txn.Identity, at write.Attributes) write.Decision {
	resource := at.Resource.Resource
	if at.Subresource != "" {
		resource += "/" + at.Subresource
	}
	return write.Decision{Allowed: !a[at.Verb+" "+resource]}
}

type world struct {
	t      testing.TB
	store  *memory
	path   *write.Path
	clock  *clocktesting.FakePassiveClock
	denied allow
}

func newWorld(t testing.TB, change ...func(*write.Config)) *world {
	t.Helper()
	scheme, err := kinds.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, clock: clocktesting.NewFakePassiveClock(start), denied: allow{}}
	rows := kinds.All()
	w.store = newMemory(rows)
	uid := 0
	var mu sync.Mutex
	c := write.Config{
		Store: w.store, Kinds: rows, Authorizer: w.denied, Scheme: scheme, Clock: w.clock,
		NewUID: func() types.UID {
			mu.Lock()
			defer mu.Unlock()
			uid++
			return types.UID(fmt.Sprintf("uid-%d", uid))
		},
	}
	for _, f := range change {
		f(&c)
	}
	if w.path, err = write.New(c); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) do(change txn.Change) (write.Done, error) {
	w.t.Helper()
	return w.path.Do(context.Background(), alice, change, write.Options{})
}

func (w *world) must(change txn.Change) write.Done {
	w.t.Helper()
	done, err := w.do(change)
	if err != nil {
		w.t.Fatalf("%s %s: %v", change.Verb, change.Ref, err)
	}
	return done
}

func configMap(name string, data ...string) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Data: map[string]string{}}
	for i := 0; i+1 < len(data); i += 2 {
		cm.Data[data[i]] = data[i+1]
	}
	return cm
}

func ref(resource schema.GroupResource, name string) txn.Ref {
	return txn.Ref{Resource: resource, Namespace: "shop", Name: name}
}

func create(o txn.Object) txn.Change {
	return txn.Change{Verb: txn.Create, Ref: ref(configMaps, o.GetName()), Object: o}
}

func update(o txn.Object) txn.Change {
	return txn.Change{Verb: txn.Update, Ref: ref(configMaps, o.GetName()), Object: o}
}

func remove(name string) txn.Change { return txn.Change{Verb: txn.Delete, Ref: ref(configMaps, name)} }

func TestCreateSetsWhatTheServerDecides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	done := w.must(create(configMap("a", "k", "v")))
	got := done.Object.(*corev1.ConfigMap)
	if done.Operation != txn.Created || got.UID == "" || !got.CreationTimestamp.Time.Equal(start) || got.ResourceVersion != "2" || done.Revision != 2 || done.Entry == nil {
		t.Errorf("created %s: %+v at %d", done.Operation, got.ObjectMeta, done.Revision)
	}
	if len(got.ManagedFields) != 1 || got.ManagedFields[0].Manager != "kubectl" || string(got.ManagedFields[0].FieldsV1.Raw) != `{"f:data":{".":{},"f:k":{}}}` {
		t.Errorf("managed fields %v", got.ManagedFields)
	}
	if !got.ManagedFields[0].Time.Time.Equal(start) {
		t.Errorf("managed at %v, want the clock's %v", got.ManagedFields[0].Time, start)
	}
}

// copies doubles the object again and again.
func copies(n int) []byte {
	var ops []string
	for i := range n {
		ops = append(ops, fmt.Sprintf(`{"op":"copy","from":"/data","path":"/data/k%d"}`, i))
	}
	return []byte("[" + strings.Join(ops, ",") + "]")
}

func repeated(n int) []byte {
	return []byte("[" + strings.Repeat(`{"op":"add","path":"/data/k","value":"v"},`, n-1) + `{"op":"add","path":"/data/k","value":"v"}]`)
}

func TestErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change txn.Change
		denied string
		code   int32
		text   string
	}{
		"create what exists":  {create(configMap("old")), "", 409, `configmaps "old" already exists`},
		"create with version": {create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x", ResourceVersion: "1"}}), "", 400, `resourceVersion should not be set on objects to be created`},
		"create without name": {create(configMap("")), "", 422, `ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required`},
		"other namespace": {txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: configMaps, Namespace: "else", Name: "x"}, Object: configMap("x")}, "", 400,
			`the namespace of the provided object does not match the namespace sent on the request ("shop", "else")`},
		"update what is not": {update(configMap("none")), "", 404, `configmaps "none" not found`},
		"update stale": {update(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old", ResourceVersion: "1"}}), "", 409,
			`Operation cannot be fulfilled on configmaps "old": the object has been modified; please apply your changes to the latest version and try again`},
		"update other uid": {update(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old", UID: "other"}}), "", 409,
			`Operation cannot be fulfilled on configmaps "old": Precondition failed: UID in precondition: other, UID in object meta: uid-1`},
		"name of the path": {txn.Change{Verb: txn.Update, Ref: ref(configMaps, "old"), Object: configMap("new")}, "", 400,
			`the name of the object (new) does not match the name on the URL (old)`},
		"delete what is not":  {remove("none"), "", 404, `configmaps "none" not found`},
		"delete precondition": {txn.Change{Verb: txn.Delete, Ref: ref(configMaps, "old"), Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("x"))}}, "", 409, `Operation cannot be fulfilled on configmaps "old": Precondition failed: UID in precondition: x, UID in object meta: uid-1`},
		"path in a name":      {remove("../x"), "", 400, `invalid name "../x": may not contain '/'`},
		"unknown resource":    {txn.Change{Verb: txn.Delete, Ref: ref(schema.GroupResource{Resource: "wishes"}, "x")}, "", 404, ""},
		"denied": {create(configMap("x")), "create configmaps", 403,
			`configmaps is forbidden: User "alice" cannot create resource "configmaps" in API group "" in the namespace "shop"`},
		"patch denied": {txn.Change{Verb: txn.Patch, Ref: ref(configMaps, "old"), PatchType: types.MergePatchType, Patch: []byte(`{}`)}, "patch configmaps", 403,
			`configmaps "old" is forbidden: User "alice" cannot patch resource "configmaps" in API group "" in the namespace "shop"`},
		"patch of no type": {txn.Change{Verb: txn.Patch, Ref: ref(configMaps, "old"), PatchType: "text/plain", Patch: []byte(`{}`)}, "", 415, ``},
		"json patch test":  {txn.Change{Verb: txn.Patch, Ref: ref(configMaps, "old"), PatchType: types.JSONPatchType, Patch: []byte(`[{"op":"test","path":"/data/k","value":"x"}]`)}, "", 422, ``},
		"json patch bomb":  {txn.Change{Verb: txn.Patch, Ref: ref(configMaps, "old"), PatchType: types.JSONPatchType, Patch: copies(64)}, "", 413, ""},
		"json patch flood": {txn.Change{Verb: txn.Patch, Ref: ref(configMaps, "old"), PatchType: types.JSONPatchType, Patch: repeated(10001)}, "", 413,
			"Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"},
		"big annotations":   {create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x", Annotations: map[string]string{"a": strings.Repeat("x", 256<<10)}}}), "", 422, ""},
		"patch typo strict": {txn.Change{Verb: txn.Patch, Ref: ref(configMaps, "old"), PatchType: types.MergePatchType, Patch: []byte(`{"dta":{"a":"b"}}`)}, "", 422, ` "" is invalid: patch: Invalid value: "{\"dta\":{\"a\":\"b\"}}": strict decoding error: unknown field "dta"`},
		"patch type":        {txn.Change{Verb: txn.Patch, Ref: ref(configMaps, "old"), PatchType: types.MergePatchType, Patch: []byte(`{"data":{"a":1}}`)}, "", 400, ``},
		"bad label":         {create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x", Labels: map[string]string{"a b": ""}}}), "", 422, ``},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.must(create(configMap("old", "k", "v")))
			if tt.denied != "" {
				w.denied[tt.denied] = true
			}
			before := w.store.Latest().Revision()
			_, err := w.do(tt.change)
			status, ok := err.(apierrors.APIStatus)
			if !ok {
				t.Fatalf("got %v, want an API status", err)
			}
			if status.Status().Code != tt.code || (tt.text != "" && status.Status().Message != tt.text) {
				t.Errorf("got %d %q\nwant %d %q", status.Status().Code, status.Status().Message, tt.code, tt.text)
			}
			if after := w.store.Latest().Revision(); after != before {
				t.Errorf("a refused change wrote revision %d", after)
			}
		})
	}
}

func TestGeneratedNamesRetry(t *testing.T) {
	t.Parallel()
	suffixes := []string{"aaaaa", "aaaaa", "bbbbb"}
	w := newWorld(t, func(c *write.Config) {
		c.NewSuffix = func() string { s := suffixes[0]; suffixes = suffixes[1:]; return s }
	})
	var names []string
	for range 2 {
		cm := configMap("")
		cm.GenerateName = "gen-"
		names = append(names, w.must(create(cm)).Object.GetName())
	}
	if names[0] != "gen-aaaaa" || names[1] != "gen-bbbbb" {
		t.Errorf("generated %v", names)
	}
}

func TestUpdateWithoutChangeWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.must(create(configMap("a", "k", "v")))
	w.clock.SetTime(start.Add(time.Hour))
	done := w.must(update(configMap("a", "k", "v")))
	if done.Operation != txn.Unchanged || done.Object.GetResourceVersion() != made.Object.GetResourceVersion() || w.store.Latest().Revision() != made.Revision {
		t.Errorf("no-op update: %s, version %s", done.Operation, done.Object.GetResourceVersion())
	}
}

func TestUnconditionalUpdateSurvivesConflicts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(create(configMap("a", "k", "v")))
	w.store.before = func() { w.must(update(configMap("a", "k", "theirs"))) }
	done := w.must(update(configMap("a", "k", "ours")))
	if got := done.Object.(*corev1.ConfigMap).Data["k"]; got != "ours" || done.Revision != 4 {
		t.Errorf("got %q at %d", got, done.Revision)
	}
}

func TestConditionalUpdateLosesRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.must(create(configMap("a", "k", "v")))
	w.store.before = func() { w.must(update(configMap("a", "k", "theirs"))) }
	mine := made.Object.DeepCopyObject().(*corev1.ConfigMap)
	mine.Data["k"] = "ours"
	if _, err := w.do(update(mine)); !apierrors.IsConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
}

func TestPatches(t *testing.T) {
	t.Parallel()
	pod := func() *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", Labels: map[string]string{"a": "1"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "i"}, {Name: "y", Image: "j"}}}}
	}
	tests := map[types.PatchType]struct {
		patch string
		want  func(p *corev1.Pod) bool
	}{
		types.MergePatchType: {`{"metadata":{"labels":{"a":null,"b":"2"}}}`, func(p *corev1.Pod) bool { return len(p.Labels) == 1 && p.Labels["b"] == "2" }},
		types.JSONPatchType:  {`[{"op":"replace","path":"/metadata/labels/a","value":"3"}]`, func(p *corev1.Pod) bool { return p.Labels["a"] == "3" }},
		types.StrategicMergePatchType: {`{"spec":{"containers":[{"name":"y","image":"new"}]}}`, func(p *corev1.Pod) bool {
			return p.Spec.Containers[0].Image == "i" && p.Spec.Containers[1].Image == "new"
		}},
	}
	for patchType, tt := range tests {
		t.Run(string(patchType), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.must(txn.Change{Verb: txn.Create, Ref: ref(pods, "p"), Object: pod()})
			done := w.must(txn.Change{Verb: txn.Patch, Ref: ref(pods, "p"), PatchType: patchType, Patch: []byte(tt.patch), FieldManager: "m"})
			if !tt.want(done.Object.(*corev1.Pod)) {
				t.Errorf("patched to %+v", done.Object)
			}
		})
	}
}

func TestDeletionWaitsForFinalizers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cm := configMap("a")
	cm.Finalizers = []string{"example.com/wait"}
	w.must(create(cm))
	foreground := metav1.DeletePropagationForeground
	done := w.must(txn.Change{Verb: txn.Delete, Ref: ref(configMaps, "a"), Propagation: &foreground})
	got := done.Object
	if done.Operation != txn.Terminating || got.GetDeletionTimestamp() == nil || len(got.GetFinalizers()) != 2 {
		t.Fatalf("%s: %+v", done.Operation, got)
	}
	if _, err := w.do(create(configMap("a"))); err == nil || err.Error() != `object is being deleted: configmaps "a" already exists` {
		t.Errorf("create again: %v", err)
	}
	again := got.DeepCopyObject().(*corev1.ConfigMap)
	again.Finalizers = []string{"example.com/new"}
	if _, err := w.do(update(again)); !apierrors.IsInvalid(err) {
		t.Errorf("a new finalizer was let in: %v", err)
	}
	again.Finalizers = nil
	if done := w.must(update(again)); done.Operation != txn.Deleted {
		t.Errorf("last finalizer removed: %s", done.Operation)
	}
	if _, ok := w.store.Latest().Get(ref(configMaps, "a")); ok {
		t.Error("the object is still there")
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	done, err := w.path.Do(t.Context(), alice, create(configMap("a")), write.Options{DryRun: true})
	if err != nil || done.Operation != txn.Created || done.Object.GetUID() == "" || w.store.Latest().Revision() != 1 {
		t.Errorf("dry run: %+v, %v", done, err)
	}
}

func TestDeleteCollection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c"} {
		cm := configMap(name)
		cm.Labels = map[string]string{"name": name}
		w.must(create(cm))
	}
	selector, err := metav1.ParseToLabelSelector("name in (a,b)")
	if err != nil {
		t.Fatal(err)
	}
	byLabels, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	gone, _, err := w.path.DeleteCollection(t.Context(), alice, write.Collection{Resource: configMaps, Namespace: "shop", Labels: byLabels}, write.Options{})
	if err != nil || len(gone) != 2 {
		t.Errorf("deleted %d, %v", len(gone), err)
	}
	if _, ok := w.store.Latest().Get(ref(configMaps, "c")); !ok {
		t.Error("c was not selected and is gone")
	}
	w.denied["deletecollection configmaps"] = true
	if _, _, err := w.path.DeleteCollection(t.Context(), alice, write.Collection{Resource: configMaps, Namespace: "shop"}, write.Options{}); !apierrors.IsForbidden(err) {
		t.Errorf("got %v, want forbidden", err)
	}
}

// TestLaggingServer shows that no answer rests on what other servers have
// changed meanwhile.
func TestLaggingServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(create(configMap("a", "k", "1")))
	w.store.behind = w.store.view
	w.must(update(configMap("a", "k", "2")))
	w.must(create(configMap("b")))
	if done := w.must(update(configMap("a", "k", "1"))); done.Operation != txn.Updated {
		t.Errorf("what was the state once: %s", done.Operation)
	}
	if _, err := w.do(create(configMap("b"))); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create what is not here yet: %v", err)
	}
	w.must(remove("b"))
	if _, err := w.do(remove("b")); !apierrors.IsNotFound(err) {
		t.Errorf("delete what is not there any more: %v", err)
	}
	stale, _ := w.store.behind.Get(ref(configMaps, "a"))
	if _, err := w.do(update(stale.DeepCopyObject().(*corev1.ConfigMap))); !apierrors.IsConflict(err) {
		t.Errorf("update with an old version: %v", err)
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
