package apiserver_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	autoscaling "k8s.io/client-go/applyconfigurations/autoscaling/v1"
)

// TestApplyToAScale has two managers apply the number of replicas: the second
// is told of the first, and both own it when they agree.
func TestApplyToAScale(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	inNamespace(t, client, "shop")
	labels := map[string]string{"app": "web"}
	deployments := client.AppsV1().Deployments("shop")
	_, err := deployments.Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
	}}, metav1.CreateOptions{FieldManager: "maker"})
	check(t, err)
	apply := func(manager string, replicas int32, force bool) (*autoscalingv1.Scale, error) {
		config := autoscaling.Scale().WithName("web").WithNamespace("shop").WithSpec(autoscaling.ScaleSpec().WithReplicas(replicas))
		return deployments.ApplyScale(t.Context(), "web", config, metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	if _, err := apply("ada", 3, false); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), ".spec.replicas") || !strings.Contains(err.Error(), "maker") {
		t.Errorf("without force: %v", err)
	}
	scale, err := apply("ada", 3, true)
	check(t, err)
	if scale.Spec.Replicas != 3 {
		t.Errorf("applied %d replicas", scale.Spec.Replicas)
	}
	if _, err := apply("bob", 4, false); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), "ada") {
		t.Errorf("the other manager: %v", err)
	}
	_, err = apply("bob", 3, false)
	check(t, err)
	if _, err := apply("ada", -1, true); !apierrors.IsInvalid(err) {
		t.Errorf("a negative number: %v", err)
	}
	d, err := deployments.Get(t.Context(), "web", metav1.GetOptions{})
	check(t, err)
	var owners []string
	for _, e := range d.ManagedFields {
		if strings.Contains(string(e.FieldsV1.Raw), "f:replicas") {
			owners = append(owners, e.Manager+" "+string(e.Operation)+" "+e.APIVersion+" "+e.Subresource)
		}
	}
	if want := []string{"ada Apply apps/v1 scale", "bob Apply apps/v1 scale"}; !slices.Equal(owners, want) || *d.Spec.Replicas != 3 || d.Generation != 2 {
		t.Errorf("generation %d, %d replicas of %q, want 3 of %q", d.Generation, *d.Spec.Replicas, owners, want)
	}
}

// TestApplyToACustomScale finds the number where the definition says it is.
func TestApplyToACustomScale(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	_, err := s.widgets().Create(t.Context(), widget(t, "w", "{size: 2}"), metav1.CreateOptions{})
	check(t, err)
	config := &unstructured.Unstructured{}
	check(t, config.UnmarshalJSON([]byte(`{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"w"},"spec":{"replicas":4}}`)))
	body, err := config.MarshalJSON()
	check(t, err)
	force := true
	scale, err := s.widgets().Patch(t.Context(), "w", types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "ada", Force: &force}, "scale")
	check(t, err)
	o, err := s.widgets().Get(t.Context(), "w", metav1.GetOptions{})
	check(t, err)
	if scale.GetKind() != "Scale" || at(t, scale, "spec.replicas") != int64(4) || at(t, o, "spec.replicas") != int64(4) || at(t, o, "spec.size") != int64(2) {
		t.Errorf("applied %v to %v", scale.Object, o.Object)
	}
}
