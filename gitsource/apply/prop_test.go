package apply_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/txntest"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
)

// world is an emulated API with one source that applies sets to it.
type world struct {
	t         *rapid.T
	store     *txntest.Store
	inventory *plan.Inventory
	applier   *apply.Applier
}

func newWorld(t *rapid.T) *world {
	store := txntest.New(clocktesting.NewFakeClock(time.Unix(0, 0)))
	return &world{t, store, plan.NewInventory(), &apply.Applier{Txn: store, Identity: txn.Identity{Name: "engine"}}}
}

// calm is a cluster in which everything is healthy at once.
type calm struct{}

func (calm) Healthy(txn.Ref) bool    { return true }
func (calm) Static(*plan.Entry) bool { return false }

func (w *world) job(set *render.Set) apply.Job {
	o := &v1alpha1.GitSource{Spec: v1alpha1.GitSourceSpec{TargetNamespace: "default"}}
	v1alpha1.SetDefaultsGitSource(o)
	return apply.Job{
		Input: plan.Input{
			Source: "main", Spec: &o.Spec, Set: set, Inventory: w.inventory, Mapper: w.store.Mapper(), Consents: []string{"all"}, Waits: calm{},
		},
		Done: func(s apply.Stage) { w.inventory = s.Inventory },
	}
}

func (w *world) apply(set *render.Set) {
	if err := w.applier.Apply(w.t.Context(), w.job(set)); err != nil {
		w.t.Fatalf("apply: %v", err)
	}
}

// state is everything that a set decides about.
func (w *world) state() map[string]string {
	view, err := w.store.View(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]string{}
	for ref := range w.inventory.Entries {
		o, ok := view.Get(ref)
		if !ok {
			w.t.Fatalf("%s is in the inventory and not in the store", ref)
		}
		o = o.DeepCopyObject().(txn.Object)
		o.SetUID("")
		o.SetResourceVersion("")
		o.SetGeneration(0)
		o.SetCreationTimestamp(metav1.Time{})
		fields := o.GetManagedFields()
		for i := range fields {
			fields[i].Time = nil
		}
		out[ref.String()] = fmt.Sprintf("%+v", o)
	}
	if n := len(w.store.Dump()); n != len(out) {
		w.t.Fatalf("%d objects in the store, %d in the inventory", n, len(out))
	}
	return out
}

// sets draws a commit's objects: some of few names, kinds, waves and contents,
// Jobs among them whose templates cannot be changed.
func sets(t *rapid.T, label string) *render.Set {
	set := &render.Set{}
	names := rapid.SliceOfNDistinct(rapid.IntRange(0, 7), 0, 8, rapid.ID[int]).Draw(t, label)
	slices.Sort(names)
	for _, n := range names {
		wave := rapid.SampledFrom([]string{"", "-1", "2"}).Draw(t, "wave")
		value := rapid.SampledFrom([]string{"one", "two", "three"}).Draw(t, "value")
		body := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{value: value, "key": value}}
		if n%4 == 3 {
			body = map[string]any{"apiVersion": "batch/v1", "kind": "Job", "spec": map[string]any{"template": map[string]any{
				"metadata": map[string]any{"labels": map[string]any{value: value}},
				"spec":     map[string]any{"restartPolicy": "Never", "containers": []any{map[string]any{"name": "c", "image": "i"}}},
			}}}
		}
		metadata := map[string]any{"name": fmt.Sprintf("o%d", n)}
		if wave != "" {
			metadata["annotations"] = map[string]any{v1alpha1.AnnotationWave: wave}
		}
		body["metadata"] = metadata
		set.Objects = append(set.Objects, &render.Object{
			Body: &unstructured.Unstructured{Object: body}, File: "all.yaml", Line: int32(n + 1), Digest: fmt.Sprintf("%d-%s-%s", n, wave, value),
		})
	}
	return set
}

// TestHistoryDoesNotMatter: a commit after others leaves what it leaves alone.
func TestHistoryDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, fresh := newWorld(t), newWorld(t)
		last := sets(t, "last")
		for range rapid.IntRange(0, 3).Draw(t, "before") {
			w.apply(sets(t, "set"))
		}
		w.apply(last)
		fresh.apply(last)
		if diff := cmp.Diff(fresh.state(), w.state()); diff != "" {
			t.Fatalf("the history shows (-alone +after others):\n%s", diff)
		}
	})
}

// TestTwiceIsOnce: what is applied again writes nothing, though all of it is
// compared.
func TestTwiceIsOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.apply(sets(t, "before"))
		set := sets(t, "set")
		w.apply(set)
		commits := w.store.Commits()
		w.apply(set)
		job := w.job(set)
		job.All = true
		if err := w.applier.Apply(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		if n := w.store.Commits(); n != commits {
			t.Fatalf("%d transactions for nothing", n-commits)
		}
	})
}

// TestPlanPredictsApply: what a plan says of each object is what applying does
// to it.
func TestPlanPredictsApply(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.apply(sets(t, "before"))
		set := sets(t, "set")
		said := w.plan(set)
		before := w.objects()
		w.apply(set)
		after := w.objects()
		done := map[string]txn.Operation{}
		for ref := range union(before, after) {
			was, is := before[ref], after[ref]
			switch {
			case was == nil:
				done[ref] = txn.Created
			case is == nil:
				done[ref] = txn.Deleted
			case was.GetUID() != is.GetUID():
				done[ref] = plan.Replaced
			case was.GetResourceVersion() != is.GetResourceVersion():
				done[ref] = txn.Updated
			}
		}
		if diff := cmp.Diff(done, said); diff != "" {
			t.Fatalf("the plan (+) is not what was done (-):\n%s", diff)
		}
	})
}

// plan gives the operations that are said of a set's objects, unchanged ones
// aside.
func (w *world) plan(set *render.Set) map[string]txn.Operation {
	view, err := w.store.View(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	in := w.job(set).Input
	in.View = view
	p := plan.Make(in)
	changes, refs := apply.WithHooks(view, "main", p)
	result, err := w.store.Plan(w.t.Context(), view, w.applier.Identity, txn.DryRun(changes))
	if err != nil {
		w.t.Fatal(err)
	}
	if want, err := w.applier.Replacements(w.t.Context(), view, p, result.Outcomes); err != nil || len(want) > 0 {
		w.t.Fatalf("%v want consent, %v", want, err)
	}
	out := map[string]txn.Operation{}
	for i, o := range result.Outcomes {
		if o.Err != nil {
			w.t.Fatalf("%s: %v", refs[i], o.Err)
		}
		if o.Operation != txn.Unchanged {
			out[refs[i].String()] = o.Operation
		}
	}
	return out
}

func (w *world) objects() map[string]txn.Object {
	view, err := w.store.View(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]txn.Object{}
	for ref := range w.inventory.Entries {
		if o, ok := view.Get(ref); ok {
			out[ref.String()] = o
		}
	}
	return out
}

func union(a, b map[string]txn.Object) map[string]txn.Object {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// TestRefusedReplacementWritesNothing: an object that wants consent stops the
// whole commit.
func TestRefusedReplacementWritesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		claim := func(mode corev1.PersistentVolumeAccessMode) *render.Object {
			return &render.Object{Digest: string(mode), File: "c.yaml", Line: 1, Body: &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": map[string]any{"name": "data"}, "spec": map[string]any{"accessModes": []any{string(mode)}},
			}}}
		}
		first, second := sets(t, "first"), sets(t, "second")
		first.Objects = append(first.Objects, claim(corev1.ReadWriteOnce))
		second.Objects = append(second.Objects, claim(corev1.ReadWriteMany))
		w.apply(first)
		commits := w.store.Commits()
		r := apply.AsRefused(w.applier.Apply(t.Context(), w.job(second)))
		if r == nil || !r.Held || len(r.Problems) != 1 || w.store.Commits() != commits {
			t.Fatalf("refused %+v, %d transactions", r, w.store.Commits()-commits)
		}
	})
}
