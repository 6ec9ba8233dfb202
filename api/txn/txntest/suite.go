package txntest

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

var configMaps = schema.GroupResource{Resource: "configmaps"}

// admin may do everything in a Store under test.
var admin = txn.Identity{Name: "admin", Groups: []string{"system:masters"}}

// Run checks what every implementation of the contract promises. open gives a
// new, empty one that has the namespace default and lets system:masters do
// everything.
func Run(t *testing.T, open func(t *testing.T) txn.Interface) {
	for name, check := range map[string]func(*testing.T, txn.Interface){
		"plan writes nothing":                    planWritesNothing,
		"a commit has one revision":              oneRevision,
		"all or nothing":                         allOrNothing,
		"a lost race is a conflict":              lostRace,
		"views do not change":                    viewsStay,
		"changes build on one another":           inOrder,
		"an old epoch writes nothing":            oldEpoch,
		"notes come with the transaction":        notes,
		"observers see writes in order":          observers,
		"a change may be somebody else's":        acting,
		"guards refuse, and add notes":           guards,
		"unchanged objects are not written":      unchanged,
		"a dry run is not committed":             dryRun,
		"apply owns and gives back fields":       ownership,
		"independent outcomes fail by their own": independent,
	} {
		t.Run(name, func(t *testing.T) { check(t, open(t)) })
	}
}

func cm(name string) txn.Ref {
	return txn.Ref{Resource: configMaps, Namespace: metav1.NamespaceDefault, Name: name}
}

func create(name, value string) txn.Change {
	return txn.Change{Verb: txn.Create, Ref: cm(name), Version: "v1", FieldManager: "test", Object: &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault}, Data: map[string]string{"key": value},
	}}
}

func applyData(name, manager string, data map[string]any) txn.Change {
	return txn.Change{Verb: txn.Apply, Ref: cm(name), Version: "v1", FieldManager: manager, Force: true, Object: &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": metav1.NamespaceDefault}, "data": data,
	}}}
}

func mustView(t *testing.T, db txn.Interface) txn.View {
	t.Helper()
	v, err := db.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mustPlan(t *testing.T, db txn.Interface, changes ...txn.Change) *txn.Result {
	t.Helper()
	r, err := db.Plan(t.Context(), mustView(t, db), admin, changes)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustCommit(t *testing.T, db txn.Interface, changes ...txn.Change) *txn.Committed {
	t.Helper()
	done, err := db.Commit(t.Context(), mustPlan(t, db, changes...), txn.CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func value(t *testing.T, db txn.Interface, name string) string {
	t.Helper()
	o, ok := mustView(t, db).Get(cm(name))
	if !ok {
		return "(none)"
	}
	return o.(*corev1.ConfigMap).Data["key"]
}

func planWritesNothing(t *testing.T, db txn.Interface) {
	r := mustPlan(t, db, create("a", "1"))
	if r.Err() != nil || r.Outcomes[0].Operation != txn.Created {
		t.Fatalf("outcome %+v", r.Outcomes[0])
	}
	if got := value(t, db, "a"); got != "(none)" {
		t.Fatalf("the plan has written %s", got)
	}
}

func oneRevision(t *testing.T, db txn.Interface) {
	done := mustCommit(t, db, create("a", "1"), create("b", "1"), create("c", "1"))
	for i, o := range done.Objects {
		if o == nil || o.GetResourceVersion() != done.Objects[0].GetResourceVersion() {
			t.Fatalf("object %d is %v", i, o)
		}
	}
	if v := mustView(t, db); v.Revision() < done.Revision {
		t.Fatalf("the writer's view is at %d, before its own write at %d", v.Revision(), done.Revision)
	}
}

func allOrNothing(t *testing.T, db txn.Interface) {
	mustCommit(t, db, create("there", "1"))
	r := mustPlan(t, db, create("new", "1"), create("there", "2"))
	if r.Outcomes[0].Err != nil || r.Outcomes[1].Err == nil {
		t.Fatalf("outcomes %+v", r.Outcomes)
	}
	if _, err := db.Commit(t.Context(), r, txn.CommitOptions{}); err == nil {
		t.Fatal("a plan with an error was committed")
	}
	if got := value(t, db, "new"); got != "(none)" {
		t.Fatalf("half of it was written: %s", got)
	}
}

func lostRace(t *testing.T, db txn.Interface) {
	mustCommit(t, db, create("a", "1"))
	slow := mustPlan(t, db, applyData("a", "slow", map[string]any{"key": "slow"}), create("b", "slow"))
	mustCommit(t, db, applyData("a", "quick", map[string]any{"key": "quick"}))
	if _, err := db.Commit(t.Context(), slow, txn.CommitOptions{}); !txn.IsConflict(err) {
		t.Fatalf("got %v, want a conflict", err)
	}
	if a, b := value(t, db, "a"), value(t, db, "b"); a != "quick" || b != "(none)" {
		t.Fatalf("a is %s and b is %s", a, b)
	}
}

func viewsStay(t *testing.T, db txn.Interface) {
	mustCommit(t, db, create("a", "1"))
	old := mustView(t, db)
	mustCommit(t, db, applyData("a", "x", map[string]any{"key": "2"}), create("b", "1"))
	o, ok := old.Get(cm("a"))
	if _, has := old.Get(cm("b")); !ok || has || o.(*corev1.ConfigMap).Data["key"] != "1" {
		t.Fatal("an old view has changed")
	}
	n := 0
	for range old.Each(configMaps, metav1.NamespaceDefault) {
		n++
	}
	if n == 0 {
		t.Fatal("the view yields nothing")
	}
}

func inOrder(t *testing.T, db txn.Interface) {
	ns := txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: namespaces, Name: "shop"}, Version: "v1", Object: &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "shop"},
	}}
	inside := create("a", "1")
	inside.Ref.Namespace = "shop"
	inside.Object.SetNamespace("shop")
	if r := mustPlan(t, db, inside); r.Err() == nil {
		t.Fatal("an object was accepted into a namespace that is not there")
	}
	mustCommit(t, db, ns, inside)
}

func oldEpoch(t *testing.T, db txn.Interface) {
	old, err := db.Acquire(t.Context(), "leader")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Acquire(t.Context(), "leader"); err != nil {
		t.Fatal(err)
	}
	_, err = db.Commit(t.Context(), mustPlan(t, db, create("a", "1")), txn.CommitOptions{Epoch: old})
	if !errors.Is(err, txn.ErrEpoch) || value(t, db, "a") != "(none)" {
		t.Fatalf("the old leader wrote: %v", err)
	}
}

func notes(t *testing.T, db txn.Interface) {
	_, err := db.Commit(t.Context(), mustPlan(t, db), txn.CommitOptions{Notes: []txn.Note{{Key: "suite/a", Value: []byte("1")}, {Key: "suite/b", Value: []byte("2")}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = db.Commit(t.Context(), mustPlan(t, db), txn.CommitOptions{Notes: []txn.Note{{Key: "suite/a"}}}); err != nil {
		t.Fatal(err)
	}
	got, err := db.Notes(t.Context(), "suite/")
	if err != nil || len(got) != 1 || got[0].Key != "suite/b" || string(got[0].Value) != "2" {
		t.Fatalf("notes %v, %v", got, err)
	}
}

func observers(t *testing.T, db txn.Interface) {
	seen := make(chan txn.Write, 16)
	defer db.Observe(func(w txn.Write) { seen <- w })()
	mustCommit(t, db, create("a", "1"))
	mustCommit(t, db, applyData("a", "x", map[string]any{"key": "2"}))
	mustCommit(t, db, txn.Change{Verb: txn.Delete, Ref: cm("a")})
	var last int64
	for i := range 3 {
		select {
		case w := <-seen:
			if w.Ref != cm("a") || w.Revision <= last || w.Identity.Name != admin.Name {
				t.Fatalf("write %d is %+v after revision %d", i, w, last)
			}
			if (w.Before == nil) != (i == 0) || (w.After == nil) != (i == 2) {
				t.Fatalf("write %d is from %v to %v", i, w.Before, w.After)
			}
			last = w.Revision
		case <-time.After(10 * time.Second):
			t.Fatalf("write %d was not seen", i)
		}
	}
}

func acting(t *testing.T, db txn.Interface) {
	seen := make(chan txn.Write, 16)
	defer db.Observe(func(w txn.Write) { seen <- w })()
	other := create("b", "1")
	other.As = &txn.Identity{Name: "jane", Groups: []string{"system:masters"}}
	mustCommit(t, db, create("a", "1"), other)
	want := map[string]string{"a": admin.Name + " for ", "b": "jane for " + admin.Name}
	for range want {
		select {
		case w := <-seen:
			if got := w.Identity.Name + " for " + w.Identity.Impersonator; got != want[w.Ref.Name] {
				t.Fatalf("%s was written by %s, want %s", w.Ref, got, want[w.Ref.Name])
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a write was not seen")
		}
	}
}

type guardFunc func(txn.Outcome) (txn.Verdict, error)

func (f guardFunc) Check(_ context.Context, _ txn.View, _ txn.Identity, o txn.Outcome) (txn.Verdict, error) {
	return f(o)
}

func guards(t *testing.T, db txn.Interface) {
	remove := db.Guard(guardFunc(func(o txn.Outcome) (txn.Verdict, error) {
		if o.Change.Ref.Name == "bad" {
			return txn.Verdict{}, errors.New("not this one")
		}
		return txn.Verdict{Notes: []txn.Note{{Key: "guard/" + o.Change.Ref.Name, Value: []byte("seen")}}}, nil
	}))
	r := mustPlan(t, db, create("bad", "1"))
	if _, err := db.Commit(t.Context(), r, txn.CommitOptions{}); err == nil {
		t.Fatal("a refused write was committed")
	}
	mustCommit(t, db, create("good", "1"))
	if got, err := db.Notes(t.Context(), "guard/"); err != nil || len(got) != 1 || got[0].Key != "guard/good" {
		t.Fatalf("notes %v, %v", got, err)
	}
	remove()
	mustCommit(t, db, create("bad", "1"))
}

func unchanged(t *testing.T, db txn.Interface) {
	data := map[string]any{"key": "1"}
	first := mustCommit(t, db, applyData("a", "x", data))
	r := mustPlan(t, db, applyData("a", "x", data))
	if r.Outcomes[0].Operation != txn.Unchanged {
		t.Fatalf("the same apply again is %s", r.Outcomes[0].Operation)
	}
	if _, err := db.Commit(t.Context(), r, txn.CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	o, _ := mustView(t, db).Get(cm("a"))
	if o.GetResourceVersion() != first.Objects[0].GetResourceVersion() {
		t.Fatal("it was written again")
	}
}

func dryRun(t *testing.T, db txn.Interface) {
	asked := create("a", "1")
	asked.DryRun = true
	r := mustPlan(t, db, asked)
	if r.Err() != nil || r.Outcomes[0].Operation != txn.Created {
		t.Fatalf("planned %s, %v", r.Outcomes[0].Operation, r.Err())
	}
	if _, err := db.Commit(t.Context(), r, txn.CommitOptions{}); err == nil {
		t.Fatal("a dry run was committed")
	}
	if _, ok := mustView(t, db).Get(cm("a")); ok {
		t.Fatal("a dry run was written")
	}
}

func ownership(t *testing.T, db txn.Interface) {
	mustCommit(t, db, applyData("a", "one", map[string]any{"key": "1", "mine": "x"}), applyData("a", "two", map[string]any{"theirs": "y"}))
	mustCommit(t, db, applyData("a", "one", map[string]any{"key": "1"}))
	o, _ := mustView(t, db).Get(cm("a"))
	data := o.(*corev1.ConfigMap).Data
	if _, kept := data["mine"]; kept || data["theirs"] != "y" || data["key"] != "1" {
		t.Fatalf("data %v", data)
	}
}

func independent(t *testing.T, db txn.Interface) {
	r := mustPlan(t, db, create("a", "1"), create("b", "1"))
	mustCommit(t, db, create("a", "first"))
	done, err := db.Commit(t.Context(), r, txn.CommitOptions{Independent: true})
	if err != nil || len(done.Failed) != 1 || done.Failed[0] == nil {
		t.Fatalf("failed %v, %v", done, err)
	}
	if a, b := value(t, db, "a"), value(t, db, "b"); a != "first" || b != "1" {
		t.Fatalf("a is %s and b is %s", a, b)
	}
}
