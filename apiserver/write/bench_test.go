package write_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission"
	"github.com/headway-sh/headway/apiserver/write"
)

func fullPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, Labels: map[string]string{"app": "web", "pod-template-hash": "abc"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "u", Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "web", Image: "example.com/web:1", Ports: []corev1.ContainerPort{{ContainerPort: 80, Protocol: corev1.ProtocolTCP}},
				Env:            []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
				Resources:      corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}},
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 5, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(80)}}},
			}},
			Tolerations: []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}},
		},
	}
}

// busy is a world with every admission step.
func busy(b *testing.B) *world {
	w := newWorld(b, func(c *write.Config) { c.Steps = admission.Steps(admission.Config{}) })
	namespaces, accounts := corev1.Resource("namespaces"), corev1.Resource("serviceaccounts")
	w.must(txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: namespaces, Name: "shop"}, Object: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}})
	w.must(txn.Change{Verb: txn.Create, Ref: ref(accounts, "default"), Object: &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "default"}}})
	return w
}

func BenchmarkCreateConfigMap(b *testing.B) {
	w := busy(b)
	for b.Loop() {
		if _, err := w.path.Do(b.Context(), alice, create(configMap("a", "k", "v")), write.Options{DryRun: true}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreatePod(b *testing.B) {
	w := busy(b)
	pod := fullPod("p")
	for b.Loop() {
		if _, err := w.path.Do(b.Context(), alice, txn.Change{Verb: txn.Create, Ref: ref(pods, "p"), Object: pod}, write.Options{DryRun: true}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdatePodStatus(b *testing.B) {
	w := busy(b)
	w.must(txn.Change{Verb: txn.Create, Ref: ref(pods, "p"), Object: fullPod("p")})
	stored, _ := w.store.Latest().Get(ref(pods, "p"))
	pod := stored.DeepCopyObject().(*corev1.Pod)
	i := 0
	for b.Loop() {
		i++
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Message = fmt.Sprint(i)
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		if _, err := w.path.Do(b.Context(), alice, txn.Change{Verb: txn.Update, Ref: ref(pods, "p"), Subresource: "status", Object: pod}, write.Options{DryRun: true}); err != nil {
			b.Fatal(err)
		}
	}
}
