package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
)

// TestIrreversible: a plan says what going back would not undo, of changes as
// well as of deletions.
func TestIrreversible(t *testing.T) {
	t.Parallel()
	claim := func(size string) txn.Object {
		return &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
		}}}
	}
	definition := func(versions string) txn.Object {
		return object(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: c}, spec: {versions: "+versions+"}}").Body
	}
	claims := schema.GroupResource{Resource: "persistentvolumeclaims"}
	definitions := schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}
	jobs := schema.GroupResource{Group: "batch", Resource: "jobs"}
	for name, c := range map[string]struct {
		of            schema.GroupResource
		before, after txn.Object
		want          []string
	}{
		"a claim grows":           {claims, claim("1Gi"), claim("2Gi"), []string{"persistentvolumeclaims x: its size of 1Gi, as it grows to 2Gi"}},
		"a claim changes":         {claims, claim("1Gi"), claim("1Gi"), nil},
		"a claim is new":          {claims, nil, claim("1Gi"), nil},
		"a Job runs":              {jobs, nil, &batchv1.Job{}, []string{"jobs.batch x: what it does"}},
		"a Job does not run yet":  {jobs, nil, &batchv1.Job{Spec: batchv1.JobSpec{Suspend: new(true)}}, nil},
		"a Job gets a label":      {jobs, &batchv1.Job{}, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}}, nil},
		"a version is stored new": {definitions, definition("[{name: v1, storage: true}]"), definition("[{name: v1}, {name: v2, storage: true}]"), []string{"customresourcedefinitions.apiextensions.k8s.io x: objects are stored as v2 from now on, and no longer as v1"}},
		"a version goes": {definitions, definition("[{name: v1, storage: true}, {name: v2}]"), definition("[{name: v2, storage: true}]"), []string{
			"customresourcedefinitions.apiextensions.k8s.io x: objects are stored as v2 from now on, and no longer as v1",
			"customresourcedefinitions.apiextensions.k8s.io x: objects that are stored as v1",
		}},
		"a version comes": {definitions, definition("[{name: v1, storage: true}]"), definition("[{name: v1, storage: true}, {name: v2}]"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := txn.Outcome{Change: txn.Change{Ref: txn.Ref{Resource: c.of, Name: "x"}}, Operation: txn.Updated, Before: c.before, After: c.after}
			if c.before == nil {
				o.Operation = txn.Created
			}
			impact := plan.Impact(newBench().input(t).View, []txn.Outcome{o})
			if impact == nil {
				impact = &v1alpha1.PlanImpact{}
			}
			if diff := cmp.Diff(c.want, impact.Irreversible); diff != "" {
				t.Errorf("irreversible (-want +got):\n%s", diff)
			}
		})
	}
}
