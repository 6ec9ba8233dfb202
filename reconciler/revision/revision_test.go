package revision_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/revision"
)

func owner(image string) revision.Owner {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "set", Annotations: map[string]string{"kubernetes.io/change-cause": "why"}}}
	set.Spec.Template = corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}}}
	return revision.Owner{Object: set, Kind: appsv1.SchemeGroupVersion.WithKind("StatefulSet"), Template: &set.Spec.Template, HashLabel: "hash"}
}

// past is a revision as somebody has left it.
func past(t *testing.T, name, image string, number int64, age time.Duration) *appsv1.ControllerRevision {
	t.Helper()
	o := owner(image)
	data, err := revision.Data(o.Template)
	if err != nil {
		t.Fatal(err)
	}
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1_000_000, 0).Add(-age)),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(o, o.Kind)}},
		Data: runtime.RawExtension{Raw: data}, Revision: number,
	}
}

func list(t *testing.T, c client.Client) []*appsv1.ControllerRevision {
	t.Helper()
	var all appsv1.ControllerRevisionList
	if err := c.List(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	revisions := make([]*appsv1.ControllerRevision, len(all.Items))
	for i := range all.Items {
		revisions[i] = &all.Items[i]
	}
	return revisions
}

func TestSettle(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		past []*appsv1.ControllerRevision
		// update is the revision of db:1, "" for one that is made.
		update string
		number int64
		same   []string
	}{
		"the first":   {number: 1},
		"the next":    {past: []*appsv1.ControllerRevision{past(t, "a", "db:7", 4, 0)}, number: 5},
		"the present": {past: []*appsv1.ControllerRevision{past(t, "a", "db:7", 4, 0), past(t, "b", "db:1", 5, 0)}, update: "b", number: 5},
		"a former":    {past: []*appsv1.ControllerRevision{past(t, "a", "db:1", 4, 0), past(t, "b", "db:7", 5, 0)}, update: "a", number: 6},
		"duplicates":  {past: []*appsv1.ControllerRevision{past(t, "a", "db:1", 4, 0), past(t, "b", "db:1", 5, 0)}, update: "b", number: 5, same: []string{"a", "b"}},
		"twins":       {past: []*appsv1.ControllerRevision{past(t, "young", "db:1", 4, 0), past(t, "old", "db:1", 4, time.Hour)}, update: "old", number: 4, same: []string{"old", "young"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := fakecluster.New(clock.RealClock{})
			for _, r := range test.past {
				if err := api.Create(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			h, err := revision.Settle(t.Context(), api, owner("db:1"), list(t, api))
			if err != nil {
				t.Fatal(err)
			}
			if test.update != "" && h.Update.Name != test.update || h.Update.Revision != test.number || h.All[len(h.All)-1] != h.Update {
				t.Errorf("%s with %d, want %q with %d", h.Update.Name, h.Update.Revision, test.update, test.number)
			}
			for _, same := range append(test.same, h.Update.Name) {
				if !h.IsUpdate(same) {
					t.Errorf("%s has the template, and is not said to", same)
				}
			}
			stored := &appsv1.ControllerRevision{}
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(h.Update), stored); err != nil || stored.Revision != test.number {
				t.Errorf("stored with %d (%v)", stored.Revision, err)
			}
			again, err := revision.Settle(t.Context(), api, owner("db:1"), list(t, api))
			if err != nil || again.Update.Name != h.Update.Name || again.Update.Revision != h.Update.Revision || len(again.All) != len(h.All) {
				t.Errorf("the second time it is %v of %d (%v)", again.Update, len(again.All), err)
			}
		})
	}
}

func TestLostAnswerMakesNoSecondRevision(t *testing.T) {
	t.Parallel()
	api := fakecluster.New(clock.RealClock{})
	for range 2 { // the second one does not see the first
		h, err := revision.Settle(t.Context(), api, owner("db:1"), nil)
		if err != nil || h.Collisions != nil {
			t.Fatalf("collisions %v, %v", h, err)
		}
	}
	if n := len(list(t, api)); n != 1 {
		t.Errorf("%d revisions", n)
	}
}

func TestTruncate(t *testing.T) {
	t.Parallel()
	api := fakecluster.New(clock.RealClock{})
	for i := range 5 {
		if err := api.Create(t.Context(), past(t, fmt.Sprint("r", i), fmt.Sprint("db:", i+10), int64(i+1), 0)); err != nil {
			t.Fatal(err)
		}
	}
	h, err := revision.Settle(t.Context(), api, owner("db:1"), list(t, api))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Truncate(t.Context(), api, 2, func(name string) bool { return name == "r0" }); err != nil {
		t.Fatal(err)
	}
	var kept []int64
	for _, r := range list(t, api) {
		kept = append(kept, r.Revision)
	}
	if diff := cmp.Diff(map[int64]bool{1: true, 4: true, 5: true, 6: true}, set(kept)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func set(numbers []int64) map[int64]bool {
	all := map[int64]bool{}
	for _, n := range numbers {
		all[n] = true
	}
	return all
}

// TestDataIsAPatch: kubectl's rollout undo applies it to the workload.
func TestDataIsAPatch(t *testing.T) {
	t.Parallel()
	data, err := revision.Data(owner("db:1").Template)
	if err != nil {
		t.Fatal(err)
	}
	now := owner("db:2").Object.(*appsv1.StatefulSet)
	now.Spec.Template.Spec.Containers = append(now.Spec.Template.Spec.Containers, corev1.Container{Name: "second"})
	whole, err := yaml.Marshal(now)
	if err != nil {
		t.Fatal(err)
	}
	if whole, err = yaml.YAMLToJSON(whole); err != nil {
		t.Fatal(err)
	}
	patched, err := strategicpatch.StrategicMergePatch(whole, data, &appsv1.StatefulSet{})
	if err != nil {
		t.Fatal(err)
	}
	got := &appsv1.StatefulSet{}
	if err := yaml.Unmarshal(patched, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(owner("db:1").Object, client.Object(got)); diff != "" {
		t.Errorf("patched (-want +got):\n%s", diff)
	}
}
