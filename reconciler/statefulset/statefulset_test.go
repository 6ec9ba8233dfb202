package statefulset_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/revision"
	"github.com/headway-sh/headway/reconciler/statefulset"
)

func scale(n int32) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) { s.Spec.Replicas = &n }
}

func TestPodsComeAndGoInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, db(3, func(s *appsv1.StatefulSet) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5} }))
	w.pass()
	w.pass()
	w.want("the first alone", "db-5=db:1!")
	w.settle()
	w.want("all", "db-5=db:1", "db-6=db:1", "db-7=db:1")
	p := w.pods()["db-6"]
	want := map[string]string{"app": "db", appsv1.StatefulSetPodNameLabel: "db-6", appsv1.PodIndexLabel: "6", appsv1.ControllerRevisionHashLabelKey: w.set().Status.CurrentRevision}
	if diff := cmp.Diff(want, p.Labels); diff != "" || p.Spec.Hostname != "db-6" || p.Spec.Subdomain != "db" {
		t.Errorf("identity %q %q, labels (-want +got):\n%s", p.Spec.Hostname, p.Spec.Subdomain, diff)
	}
	w.edit(scale(1))
	w.pass()
	w.want("the last goes first", "db-5=db:1", "db-6=db:1", "db-7=db:1-")
	w.pass()
	w.want("and is waited for", "db-5=db:1", "db-6=db:1", "db-7=db:1-")
	w.settle()
	w.want("one", "db-5=db:1")
}

func TestParallelDoesNotWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, db(3, parallel, image("broken")))
	w.pass()
	w.want("all at once", "db-0=broken!", "db-1=broken!", "db-2=broken!")
	w.edit(scale(1))
	w.pass()
	w.want("gone at once", "db-0=broken!", "db-1=broken-", "db-2=broken-")
}

// TestMorePodsThanMemory: what a pass costs does not follow from the number
// that somebody wrote.
func TestMorePodsThanMemory(t *testing.T) {
	t.Parallel()
	set := db(0, scale(math.MaxInt32), parallel)
	if n := len(statefulset.Next(statefulset.State{Set: set, Update: "1", Current: "1", IsUpdate: func(string) bool { return true }}).Create); n != 500 {
		t.Errorf("one pass creates %d pods", n)
	}
}

func TestCanaryThenAllThenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, db(3))
	w.settle()
	first := w.set().Status.CurrentRevision
	w.edit(image("db:2"))
	w.edit(partition(2))
	w.settle()
	w.want("canary", "db-0=db:1", "db-1=db:1", "db-2=db:2")
	s := w.set().Status
	if s.CurrentRevision != first || s.UpdateRevision == first || s.CurrentReplicas != 2 || s.UpdatedReplicas != 1 {
		t.Errorf("status %+v", s)
	}
	for _, p := range w.pods() {
		if err := w.api.Delete(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	w.settle()
	w.want("recreated from their own revisions", "db-0=db:1", "db-1=db:1", "db-2=db:2")
	w.edit(partition(0))
	w.settle()
	w.want("all", "db-0=db:2", "db-1=db:2", "db-2=db:2")
	w.edit(image("db:1")) // what kubectl rollout undo does
	w.settle()
	w.want("back", "db-0=db:1", "db-1=db:1", "db-2=db:1")
	var all appsv1.ControllerRevisionList
	if err := w.api.List(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	numbers := map[string]int64{}
	for i := range all.Items {
		template, err := revision.Template(&all.Items[i])
		if err != nil {
			t.Fatal(err)
		}
		numbers[template.Spec.Containers[0].Image] = all.Items[i].Revision
	}
	if diff := cmp.Diff(map[string]int64{"db:1": 3, "db:2": 2}, numbers); diff != "" || w.set().Status.CurrentRevision != first {
		t.Errorf("revisions (-want +got):\n%s", diff)
	}
	for _, name := range []string{"db:3", "db:4", "db:5"} {
		w.edit(image(name))
		w.settle()
	}
	if err := w.api.List(t.Context(), &all); err != nil || len(all.Items) != 3 {
		t.Errorf("%d revisions kept (%v), want the limit of 2 and the one in use", len(all.Items), err)
	}
}

func TestBrokenRolloutGoesBackByItself(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]func(*appsv1.StatefulSet){"ordered": func(*appsv1.StatefulSet) {}, "parallel": parallel} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, t, db(3, policy))
			w.settle()
			w.edit(image("broken"))
			w.settle()
			w.want("stuck, and no further", "db-0=db:1", "db-1=db:1", "db-2=broken!")
			w.edit(image("db:1"))
			w.settle()
			w.want("back", "db-0=db:1", "db-1=db:1", "db-2=db:1")
		})
	}
}

func TestFailedPodsAreMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, db(2))
	w.settle()
	before := w.pods()["db-0"]
	w.phase(before, corev1.PodFailed, false)
	w.settle()
	if after := w.pods()["db-0"]; after == nil || after.UID == before.UID {
		t.Errorf("db-0 is %v", after)
	}
}

func TestOnDeleteWaitsForTheUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, db(2, func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	}))
	w.settle()
	w.edit(image("db:2"))
	w.settle()
	w.want("nothing moves", "db-0=db:1", "db-1=db:1")
	if err := w.api.Delete(t.Context(), w.pods()["db-0"]); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.want("the deleted one is new", "db-0=db:2", "db-1=db:1")
}

func (w *world) claims() map[string]string {
	var list corev1.PersistentVolumeClaimList
	w.ok(w.api.List(w.t.Context(), &list))
	owners := map[string]string{}
	for _, c := range list.Items {
		owners[c.Name] = ""
		if o := metav1.GetControllerOf(&c); o != nil {
			owners[c.Name] = o.Kind + " " + o.Name
		}
	}
	return owners
}

func TestClaimsStayOrGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, db(2, claims))
	w.settle()
	check := func(what string, want map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, w.claims()); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("retained", map[string]string{"data-db-0": "", "data-db-1": ""})
	if v := w.pods()["db-1"].Spec.Volumes; len(v) != 1 || v[0].Name != "data" || v[0].PersistentVolumeClaim.ClaimName != "data-db-1" {
		t.Errorf("volumes %v", v)
	}
	w.edit(func(s *appsv1.StatefulSet) {
		s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
			WhenDeleted: appsv1.DeletePersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.DeletePersistentVolumeClaimRetentionPolicyType,
		}
	})
	w.settle()
	check("with the set", map[string]string{"data-db-0": "StatefulSet db", "data-db-1": "StatefulSet db"})
	w.edit(scale(1))
	w.pass()
	check("with the pod that goes", map[string]string{"data-db-0": "StatefulSet db", "data-db-1": "Pod db-1"})
	w.settle()
	w.edit(scale(2))
	w.pass()
	w.want("the former claim is waited for", "db-0=db:1")
	if err := w.api.Delete(t.Context(), &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "data-db-1"}}); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.want("both", "db-0=db:1", "db-1=db:1")
}

func TestOrdinal(t *testing.T) {
	t.Parallel()
	set := db(1)
	for name, want := range map[string]int{"db-0": 0, "db-12": 12, "db-01": -1, "db-": -1, "db-x": -1, "web-0": -1, "db--1": -1, "db": -1} {
		if got := statefulset.Ordinal(set, name); got != want {
			t.Errorf("ordinal of %q: %d, want %d", name, got, want)
		}
	}
}

func TestAdoptsAndReleases(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, db(1))
	w.settle()
	p := w.pods()["db-0"]
	p.OwnerReferences, p.Labels[appsv1.PodIndexLabel] = nil, "7"
	w.ok(w.api.Update(t.Context(), p))
	w.ok(w.api.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "debug", Labels: map[string]string{"app": "db"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "debug"}}}}))
	w.pass()
	p = w.pods()["db-0"]
	if !metav1.IsControlledBy(p, w.set()) || p.Labels[appsv1.PodIndexLabel] != "0" {
		t.Errorf("not adopted as it should be: %v %v", p.OwnerReferences, p.Labels)
	}
	if o := w.pods()["debug"].OwnerReferences; o != nil {
		t.Errorf("a pod of another name was adopted: %v", o)
	}
	p.Labels["app"] = "other"
	w.ok(w.api.Update(t.Context(), p))
	if _, err := w.r.Reconcile(t.Context(), controller.Request(w.set())); err == nil {
		t.Error("a released pod is in the way, and nobody says so")
	}
	if p = w.pods()["db-0"]; p.OwnerReferences != nil {
		t.Errorf("not released: %v", p.OwnerReferences)
	}
}

func TestCollidingRevisionNames(t *testing.T) {
	t.Parallel()
	set := db(1)
	w := newWorld(t, t, set)
	data, err := revision.Data(&w.set().Spec.Template)
	w.ok(err)
	w.ok(w.api.Create(t.Context(), &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "db-" + revision.Hash(data, nil)}}))
	w.settle()
	if s := w.set().Status; ptr.Deref(s.CollisionCount, 0) != 1 || s.UpdateRevision != "db-"+revision.Hash(data, ptr.To[int32](1)) {
		t.Errorf("status %+v", s)
	}
}
