package rest_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// An eviction takes one disruption off the budget; without one left it is
// refused and the pod stays. It needs no right to delete pods.
func TestEviction(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	w.denied = func(_ txn.Identity, a write.Attributes) bool {
		return a.Verb == "delete" && a.Resource.Resource == "pods"
	}
	ctx, client := t.Context(), w.client("alice")
	pods := client.CoreV1().Pods("shop")
	for _, name := range []string{"a", "b", "pending", "free"} {
		label := map[string]string{"app": "web"}
		if name == "free" {
			label = nil
		}
		pod, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: label},
			Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
		check(t, err)
		if name == "pending" {
			continue
		}
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		check(t, err)
	}
	budget, err := client.PolicyV1().PodDisruptionBudgets("shop").Create(ctx, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}, metav1.CreateOptions{})
	check(t, err)
	evict := func(name string) error {
		// The typed client would try again for as long as the answer says.
		return client.CoreV1().RESTClient().Post().Namespace("shop").Resource("pods").Name(name).SubResource("eviction").
			Body(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name}}).MaxRetries(0).Do(ctx).Error()
	}
	if err := evict("a"); !apierrors.IsTooManyRequests(err) {
		t.Errorf("with a budget that nobody has looked at yet: %v", err)
	}
	budget.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: budget.Generation, DisruptionsAllowed: 1, CurrentHealthy: 2, DesiredHealthy: 1, ExpectedPods: 2}
	_, err = client.PolicyV1().PodDisruptionBudgets("shop").UpdateStatus(ctx, budget, metav1.UpdateOptions{})
	check(t, err)
	elsewhere := ptr.To(types.UID("of-another-life"))
	err = client.CoreV1().RESTClient().Post().Namespace("shop").Resource("pods").Name("a").SubResource("eviction").
		Body(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "a"}, DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: elsewhere}}}).
		MaxRetries(0).Do(ctx).Error()
	if !apierrors.IsConflict(err) {
		t.Errorf("the pod of another life: %v", err)
	}
	check(t, evict("a")) // for which the budget still has one
	err = evict("b")
	if !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		t.Errorf("with nothing left of the budget: %v", err)
	}
	check(t, evict("pending"))
	check(t, evict("free"))
	if err := evict("nobody"); !apierrors.IsNotFound(err) {
		t.Errorf("a pod that is not there: %v", err)
	}
	for name, going := range map[string]bool{"a": true, "b": false, "free": true} {
		pod, err := pods.Get(ctx, name, metav1.GetOptions{})
		check(t, err)
		if (pod.DeletionTimestamp != nil) != going {
			t.Errorf("pod %s: deletion %v, want going %v", name, pod.DeletionTimestamp, going)
		}
	}
	left, err := client.PolicyV1().PodDisruptionBudgets("shop").Get(ctx, "web", metav1.GetOptions{})
	check(t, err)
	if _, named := left.Status.DisruptedPods["a"]; left.Status.DisruptionsAllowed != 0 || !named {
		t.Errorf("the budget's status is %+v", left.Status)
	}
}

// TestEvictedPodsSayWhy looks at a pod that a finalizer keeps after it has been
// evicted, by the version that was read.
func TestEvictedPodsSayWhy(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	ctx, client := t.Context(), w.client("alice")
	pod, err := client.CoreV1().Pods("shop").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Finalizers: []string{"example.com/kept"}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
	check(t, err)
	evict := func(version string) error {
		return client.CoreV1().Pods("shop").EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "a"},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}}})
	}
	if err := evict("1"); !apierrors.IsConflict(err) {
		t.Errorf("of an older version: %v", err)
	}
	check(t, evict(pod.ResourceVersion))
	pod, err = client.CoreV1().Pods("shop").Get(ctx, "a", metav1.GetOptions{})
	check(t, err)
	if pod.DeletionTimestamp == nil {
		t.Error("the pod stays")
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == "EvictionByEvictionAPI" {
			return
		}
	}
	t.Errorf("conditions: %+v", pod.Status.Conditions)
}
