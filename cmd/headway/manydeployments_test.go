package main

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// BenchmarkManyDeployments creates 1,000 Deployments in one namespace and
// waits until each has its pod.
func BenchmarkManyDeployments(b *testing.B) {
	const many = 1000
	c := rooms(b, "serviceaccount", "deployment", "replicaset")
	for round := 0; b.Loop(); round++ {
		namespace := fmt.Sprint("shop-", round)
		ok(b, c.Create(b.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
		for i := range many {
			name := fmt.Sprint("web-", i)
			labels := map[string]string{"app": name}
			ok(b, c.Create(b.Context(), &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
				Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web:1"}}},
				}},
			}))
		}
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for pods := (&corev1.PodList{}); len(pods.Items) < many; <-tick.C {
			ok(b, c.List(b.Context(), pods, client.InNamespace(namespace), client.UnsafeDisableDeepCopy))
		}
	}
}
