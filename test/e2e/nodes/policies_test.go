package nodes_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/test/e2e/machines"
)

func named(name string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{"name": name}}
}

// policies lets peer-2 be reached by peer-1 on its port only, and a pod that
// may send nothing try from its first moment on.
func policies(t *testing.T, c *cluster) {
	var to corev1.Pod
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "peer-2"}, &to); err != nil {
		t.Fatal(err)
	}
	url := "http://" + to.Status.PodIP + ":8080"
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "peer-2"}, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: named("peer-2"), Ingress: []networkingv1.NetworkPolicyIngressRule{{
			From:  []networkingv1.NetworkPolicyPeer{{PodSelector: ptr.To(named("peer-1"))}},
			Ports: []networkingv1.NetworkPolicyPort{{Port: ptr.To(intstr.FromInt32(8080))}}}}}}
	mute := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "mute"}, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: named("mute"), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}}}
	pod := func(name, node string, args ...string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"name": name}},
			Spec: corev1.PodSpec{NodeName: node, RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{
				Name: "peer", Image: machines.PeerImage, ImagePullPolicy: corev1.PullNever, Args: args}}}}
	}
	for _, o := range []client.Object{policy, mute, pod("near", "node-2", "serve", ":8080"), pod("far", "node-1", "serve", ":8080")} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	machines.Await(t, c.Cluster, "pods to run", &corev1.PodList{}, func(all map[string]*corev1.Pod) bool {
		return all["near"] != nil && all["near"].Status.Phase == corev1.PodRunning && all["far"] != nil && all["far"].Status.Phase == corev1.PodRunning
	})
	// Policies, and who is whose peer, arrive a moment after they are written.
	until := func(from string, want bool) {
		t.Helper()
		deadline := time.Now().Add(machines.Patience)
		got, err := c.Exec(t, from, "get", url)
		for ; (err == nil) != want && time.Now().Before(deadline); got, err = c.Exec(t, from, "get", url) {
		}
		if (err == nil) != want {
			t.Errorf("%s gets %q, %v; want that it gets through: %v", from, got, err, want)
		}
	}
	until("near", false)
	until("far", false)
	until("peer-1", true)
	var far corev1.Pod
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "far"}, &far); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), pod("mute", "node-2", "load", "1s", "http://"+far.Status.PodIP+":8080")); err != nil {
		t.Fatal(err)
	}
	machines.Await(t, c.Cluster, "the mute pod to end", &corev1.PodList{}, func(all map[string]*corev1.Pod) bool {
		return all["mute"] != nil && (all["mute"].Status.Phase == corev1.PodFailed || all["mute"].Status.Phase == corev1.PodSucceeded)
	})
	if log := c.Run(t, "kubectl", "logs", "mute"); !strings.Contains(log, "0 answered by 0 pods") {
		t.Errorf("a pod that may send nothing has sent: %s", log)
	}
	for _, o := range []client.Object{policy, mute} {
		if err := c.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	until("near", true)
	until("far", true)
	for _, name := range []string{"near", "far", "mute"} {
		if err := c.Delete(t.Context(), pod(name, "")); err != nil {
			t.Error(err)
		}
	}
	machines.Await(t, c.Cluster, "pods to be gone", &corev1.PodList{}, func(all map[string]*corev1.Pod) bool {
		return all["near"] == nil && all["far"] == nil && all["mute"] == nil
	})
}
