package write_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

func applied(manager string, data ...string) txn.Change {
	values := map[string]any{}
	for i := 0; i+1 < len(data); i += 2 {
		values[data[i]] = data[i+1]
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"namespace": "shop", "name": "a"},
	}}
	if len(values) > 0 {
		u.Object["data"] = values
	}
	return txn.Change{Verb: txn.Apply, Ref: ref(configMaps, "a"), FieldManager: manager, Object: u}
}

func data(t *testing.T, done write.Done) string {
	t.Helper()
	return fmt.Sprint(done.Object.(*corev1.ConfigMap).Data)
}

func owners(done write.Done) string {
	s := ""
	for _, e := range done.Object.GetManagedFields() {
		s += fmt.Sprintf("%s %s %s;", e.Manager, e.Operation, e.FieldsV1.Raw)
	}
	return s
}

func TestApply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if done := w.must(applied("one", "k", "1", "both", "x")); done.Operation != txn.Created || done.Object.GetUID() == "" {
		t.Fatalf("first apply: %+v", done)
	}
	// The same value may be shared; another one is a conflict.
	if got, want := owners(w.must(applied("two", "both", "x"))), `one Apply {"f:data":{"f:both":{},"f:k":{}}};two Apply {"f:data":{"f:both":{}}};`; got != want {
		t.Errorf("shared field:\n got %s\nwant %s", got, want)
	}
	_, err := w.do(applied("two", "both", "y"))
	if want := `Apply failed with 1 conflict: conflict with "one": .data.both`; !apierrors.IsConflict(err) || err.Error() != want {
		t.Errorf("conflict: got %v, want %s", err, want)
	}
	forced := applied("two", "both", "y")
	forced.Force = true
	if got, want := owners(w.must(forced)), `one Apply {"f:data":{"f:k":{}}};two Apply {"f:data":{"f:both":{}}};`; got != want {
		t.Errorf("forced:\n got %s\nwant %s", got, want)
	}
	// What a manager does not apply any more, and nobody else owns, goes.
	if got := data(t, w.must(applied("one"))); got != "map[both:y]" {
		t.Errorf("dropped field: %s", got)
	}
	if done := w.must(forced); done.Operation != txn.Unchanged {
		t.Errorf("apply again: %s", done.Operation)
	}
	// An update takes over.
	done := w.must(txn.Change{Verb: txn.Update, Ref: ref(configMaps, "a"), FieldManager: "three", Object: configMap("a", "both", "z")})
	if got, want := owners(done), `three Update {"f:data":{"f:both":{}}};`; got != want {
		t.Errorf("updated:\n got %s\nwant %s", got, want)
	}
}

func TestApplyIsRefused(t *testing.T) {
	t.Parallel()
	typo := applied("one")
	typo.Object.(*unstructured.Unstructured).Object["dta"] = map[string]any{}
	pod := applied("one")
	pod.Object.(*unstructured.Unstructured).SetKind("Pod")
	tests := map[string]struct {
		change txn.Change
		denied string
		code   int32
	}{
		"no manager":     {applied(""), "", 422},
		"typo":           {typo, "", 400},
		"another kind":   {pod, "", 400},
		"may not create": {applied("one"), "create configmaps", 403},
		"may not patch":  {applied("one"), "patch configmaps", 403},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.denied[tt.denied] = true
			_, err := w.do(tt.change)
			if status, ok := err.(apierrors.APIStatus); !ok || status.Status().Code != tt.code {
				t.Errorf("got %v, want code %d", err, tt.code)
			}
		})
	}
}

// TestApplyNamesWhatTheSchemaLacks compares with server-side apply's own words,
// which do not depend on the field validation asked for.
func TestApplyNamesWhatTheSchemaLacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, validation := range []string{"", "Warn", "Ignore"} {
		typo := applied("one")
		typo.FieldValidation = validation
		typo.Object.(*unstructured.Unstructured).Object["dta"] = map[string]any{}
		_, err := w.do(typo)
		if want := "failed to create typed patch object (shop/a; /v1, Kind=ConfigMap): .dta: field not declared in schema"; err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", validation, err, want)
		}
	}
	wrong := applied("one")
	wrong.Object.(*unstructured.Unstructured).Object["data"] = "text"
	if _, err := w.do(wrong); !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), ".data: expected map, got &{text}") {
		t.Errorf("wrong type: %v", err)
	}
}

func TestPlanBuildsOnItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	view := w.store.Latest()
	changed := configMap("a", "k", "2")
	result, err := w.path.Plan(ctx, view, alice, []txn.Change{
		create(configMap("a", "k", "1")), update(changed), create(configMap("b")), create(configMap("c")), remove("c"), create(configMap("a")),
	})
	if err != nil {
		t.Fatal(err)
	}
	var operations []any
	for _, o := range result.Outcomes {
		operations = append(operations, o.Operation)
	}
	if got := fmt.Sprint(operations); got != "[created updated created created deleted ]" || !apierrors.IsAlreadyExists(result.Outcomes[5].Err) {
		t.Errorf("planned %s, %v", got, result.Outcomes[5].Err)
	}
	if _, err := w.path.Commit(ctx, result, txn.CommitOptions{}); err == nil {
		t.Error("a result with an error was committed")
	}
	result, err = w.path.Plan(ctx, view, alice, []txn.Change{create(configMap("a", "k", "1")), update(changed), create(configMap("b"))})
	if err != nil {
		t.Fatal(err)
	}
	if w.store.Latest().Revision() != view.Revision() {
		t.Fatal("a plan wrote something")
	}
	done, err := w.path.Commit(ctx, result, txn.CommitOptions{Notes: []txn.Note{{Key: "inventory/main", Value: []byte("x")}}})
	if err != nil || done.Revision != 2 || done.Objects[1].(*corev1.ConfigMap).Data["k"] != "2" || string(w.store.notes["inventory/main"]) != "x" {
		t.Errorf("committed %+v, %v", done, err)
	}
	// The same plan again has lost its ground.
	if _, err := w.path.Commit(ctx, result, txn.CommitOptions{}); !txn.IsConflict(err) {
		t.Errorf("second commit: %v", err)
	}
}

// TestUnchangedObjectsDoNotConflict lets an object that a commit leaves alone
// change between plan and commit.
func TestUnchangedObjectsDoNotConflict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(create(configMap("same", "k", "v")))
	result, err := w.path.Plan(t.Context(), w.store.Latest(), alice, []txn.Change{update(configMap("same", "k", "v")), create(configMap("new"))})
	if err != nil || result.Err() != nil || len(result.Compares) != 0 {
		t.Fatal(err, result.Err(), result.Compares)
	}
	w.must(update(configMap("same", "k", "other")))
	if _, err := w.path.Commit(t.Context(), result, txn.CommitOptions{}); err != nil {
		t.Error(err)
	}
}

func TestCommitWritesOnlyItsOwnPlans(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	result, err := w.path.Plan(ctx, w.store.Latest(), alice, []txn.Change{create(configMap("a"))})
	if err != nil {
		t.Fatal(err)
	}
	forged := *result
	if _, err := w.path.Commit(ctx, &forged, txn.CommitOptions{}); err == nil {
		t.Error("a copied result was committed")
	}
	result.Outcomes[0].After = configMap("b") // the record counts, not this
	done, err := w.path.Commit(ctx, result, txn.CommitOptions{})
	if err != nil || done.Objects[0].GetName() != "a" {
		t.Errorf("%v, %v", done, err)
	}
	hopes := txn.Overlay(w.store.Latest(), map[txn.Ref]txn.Object{ref(configMaps, "x"): configMap("x")}, nil)
	result, err = w.path.Plan(ctx, hopes, alice, []txn.Change{update(configMap("x", "k", "v"))})
	if err != nil || result.Err() != nil {
		t.Fatal(err, result.Err())
	}
	if _, err := w.path.Commit(ctx, result, txn.CommitOptions{}); err == nil {
		t.Error("a plan on pending changes was committed")
	}
}

func TestIndependentCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.must(create(configMap("a")))
	w.must(create(configMap("b")))
	result, err := w.path.Plan(ctx, w.store.Latest(), alice, []txn.Change{update(configMap("a", "k", "v")), update(configMap("b", "k", "v")), update(configMap("none"))})
	if err != nil {
		t.Fatal(err)
	}
	w.must(update(configMap("b", "k", "theirs")))
	done, err := w.path.Commit(ctx, result, txn.CommitOptions{Independent: true})
	if err != nil || done.Objects[0] == nil || !txn.IsConflict(done.Failed[1]) || !apierrors.IsNotFound(done.Failed[2]) {
		t.Errorf("%+v, %v", done, err)
	}
}

// refuse is a guard that refuses one name.
type refuse string

func (r refuse) Check(_ context.Context, _ txn.View, identity txn.Identity, planned txn.Outcome) (txn.Verdict, error) {
	if planned.Change.Ref.Name == string(r) {
		return txn.Verdict{}, apierrors.NewForbidden(configMaps, string(r), fmt.Errorf("%s, this comes from git", identity.Name))
	}
	return txn.Verdict{Warnings: []string{"seen"}, Notes: []txn.Note{{Key: "drift/" + planned.Change.Ref.Name, Value: []byte("1")}}}, nil
}

func TestGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	unguard := w.path.Guard(refuse("secret"))
	if _, err := w.do(create(configMap("secret"))); err == nil || err.Error() != `configmaps "secret" is forbidden: alice, this comes from git` {
		t.Errorf("got %v", err)
	}
	done := w.must(create(configMap("other")))
	if len(done.Warnings) != 1 || string(w.store.notes["drift/other"]) != "1" {
		t.Errorf("warnings %v, notes %v", done.Warnings, w.store.notes)
	}
	unguard()
	w.must(create(configMap("secret")))
}

func TestObserversSeeWritesInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const writers, each = 4, 20
	seen := make(chan txn.Write, writers*each)
	stop := w.path.Observe(func(o txn.Write) { seen <- o })
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				w.must(create(configMap(fmt.Sprintf("w%d-%d", i, j))))
			}
		})
	}
	wg.Wait()
	var last int64
	for range writers * each {
		o := <-seen
		if o.Revision <= last || o.Identity.Name != "alice" || o.After.GetResourceVersion() != fmt.Sprint(o.Revision) {
			t.Errorf("after %d came %d of %s", last, o.Revision, o.Ref)
		}
		last = o.Revision
	}
	stop()
	stop()
}

// TestSlowObserverIsTold lets an observer fall behind the buffer.
func TestSlowObserverIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var seen, gaps int
	first, release := make(chan struct{}, 1), make(chan struct{})
	stop := w.path.Observe(func(o txn.Write) {
		if o.Revision == 0 {
			gaps++
		} else if seen++; seen == 1 {
			first <- struct{}{}
			<-release
		}
	})
	w.must(create(configMap("first")))
	<-first
	const more = 1100
	for i := range more {
		w.must(update(configMap("first", "k", fmt.Sprint(i))))
	}
	close(release)
	stop()
	if gaps != 1 || seen >= more {
		t.Errorf("%d gaps, %d of %d writes", gaps, seen, more+1)
	}
}
