package fault_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// readyNode makes a Node that pods can be bound to, though no agent runs.
func (s *server) readyNode(name string) {
	s.t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	check(s.t, s.client.Create(s.t.Context(), node))
	// A patch, because the controllers write the new Node as well.
	check(s.t, s.client.Status().Patch(s.t.Context(), node, client.RawPatch("application/merge-patch+json", []byte(
		`{"status":{"capacity":{"cpu":"4","memory":"4Gi","pods":"110"},"allocatable":{"cpu":"4","memory":"4Gi","pods":"110"}}}`))))
}

func (s *server) pod(name string) *corev1.Pod {
	s.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.org/c:1"}}, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}}}
	eventually(s.t, "create pod "+name, func() string {
		if err := s.client.Create(s.t.Context(), pod); err != nil {
			return err.Error() // the service account may not be there yet
		}
		return ""
	})
	return pod
}

func (s *server) boundTo(pod *corev1.Pod) string {
	if err := s.client.Get(s.t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
		return err.Error()
	}
	return pod.Spec.NodeName
}

// TestSchedulerWithoutItsRole takes the scheduler's binding away: its next
// bind is forbidden and the pod stays pending, until it gets the role back.
func TestSchedulerWithoutItsRole(t *testing.T) {
	t.Parallel()
	s := controlPlane(t)
	s.readyNode("n1")
	first := s.pod("first")
	eventually(t, "the first pod", func() string {
		if node := s.boundTo(first); node != "n1" {
			return fmt.Sprintf("is on %q", node)
		}
		return ""
	})

	var binding rbacv1.ClusterRoleBinding
	check(t, s.client.Get(t.Context(), client.ObjectKey{Name: "system:kube-scheduler"}, &binding))
	check(t, s.client.Delete(t.Context(), binding.DeepCopy()))
	second := s.pod("second")
	eventually(t, "a forbidden bind", func() string {
		if !matches(s.logPath(), `bind forbidden.*system:kube-scheduler.* cannot create resource .{1,2}pods/binding`) {
			return "is not in the log"
		}
		return ""
	})
	if node := s.boundTo(second); node != "" {
		t.Fatalf("without its role the scheduler has bound to %q", node)
	}
	scheduler := s.as("system:kube-scheduler")
	err := scheduler.SubResource("binding").Create(t.Context(), second.DeepCopy(), &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "second"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}})
	if !apierrors.IsForbidden(err) {
		t.Errorf("its bind over HTTPS: %v, want it forbidden", err)
	}

	binding.ResourceVersion, binding.UID = "", ""
	check(t, s.client.Create(t.Context(), &binding))
	eventually(t, "the second pod", func() string {
		if node := s.boundTo(second); node != "n1" {
			return fmt.Sprintf("is on %q", node)
		}
		return ""
	})
	if err := scheduler.List(t.Context(), &corev1.SecretList{}); !apierrors.IsForbidden(err) {
		t.Errorf("the scheduler lists Secrets: %v, want it forbidden", err)
	}
}
