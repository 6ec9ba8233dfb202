package health_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/health"
	"github.com/headway-sh/headway/gitsource/plan"
)

// TestJudgesSharedObjects: a custom resource is stored in another version than
// the one that it was applied in, and everybody reads it at the same time.
func TestJudgesSharedObjects(t *testing.T) {
	t.Parallel()
	judge, errs := health.NewJudge(nil)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1beta1", "kind": "Database", "metadata": map[string]any{"name": "a", "generation": int64(2)},
		"status": map[string]any{"observedGeneration": int64(1)},
	}}
	before := o.DeepCopy()
	entry := &plan.Entry{Group: "example.com", Resource: "databases", APIVersion: "example.com/v1", Kind: "Database", Name: "a"}
	if state := judge.Of(entry, o); state.Health != v1alpha1.HealthProgressing {
		t.Errorf("state %+v", state)
	}
	if diff := cmp.Diff(before.Object, o.Object); diff != "" {
		t.Errorf("judging changed the object (-want +got):\n%s", diff)
	}
}
