package fieldmanager_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/fieldmanager"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
)

// edits are the ways in which the test's writers change an object.
type edits func(r *rand.Rand, o txn.Object)

func pick(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }

func editMeta(r *rand.Rand, o txn.Object) {
	set := func(m map[string]string) map[string]string {
		c := map[string]string{}
		for k, v := range m {
			c[k] = v
		}
		if k := pick(r, "a", "b", "c/d"); r.IntN(3) == 0 {
			delete(c, k)
		} else {
			c[k] = pick(r, "1", "2")
		}
		if len(c) == 0 && r.IntN(2) == 0 {
			return nil
		}
		return c
	}
	switch r.IntN(4) {
	case 0:
		o.SetLabels(set(o.GetLabels()))
	case 1:
		o.SetAnnotations(set(o.GetAnnotations()))
	case 2:
		o.SetFinalizers([][]string{nil, {"x/a"}, {"x/b", "x/a"}}[r.IntN(3)])
	case 3:
		o.SetOwnerReferences([][]metav1.OwnerReference{nil, {{APIVersion: "v1", Kind: "Node", Name: "n", UID: "1"}}, {{APIVersion: "v1", Kind: "Node", Name: "n", UID: "1", Controller: ptr.To(true)}, {UID: "2", Name: "m"}}}[r.IntN(3)])
	}
}

func editPodSpec(r *rand.Rand, s *corev1.PodSpec) {
	switch r.IntN(9) {
	case 0:
		s.Containers = append(s.Containers[:0:0], s.Containers...)
		s.Containers = append(s.Containers, corev1.Container{Name: pick(r, "x", "y", "z"), Image: pick(r, "i:1", "i:2")})
	case 1:
		if len(s.Containers) > 0 {
			s.Containers = s.Containers[1:]
		}
	case 2:
		if len(s.Containers) > 0 {
			c := &s.Containers[0]
			c.Image = pick(r, "i:1", "i:2", "")
			c.Ports = [][]corev1.ContainerPort{nil, {{ContainerPort: 80, Protocol: "TCP"}}, {{ContainerPort: 80}, {ContainerPort: 81, Name: "b"}}}[r.IntN(3)]
			c.Env = [][]corev1.EnvVar{nil, {{Name: "A", Value: "1"}}, {{Name: "A", Value: "2"}, {Name: "B"}}, {{Name: "A"}, {Name: "A", Value: "x"}}}[r.IntN(4)]
		}
	case 3:
		if len(s.Containers) > 0 {
			s.Containers[0].Resources = []corev1.ResourceRequirements{{}, {Limits: corev1.ResourceList{"cpu": resource.MustParse("1")}}, {Requests: corev1.ResourceList{"cpu": resource.MustParse("1000m"), "memory": resource.MustParse("1Gi")}}}[r.IntN(3)]
		}
	case 4:
		s.NodeSelector = []map[string]string{nil, {"a": "1"}, {"b": "2", "a": "1"}}[r.IntN(3)]
	case 5:
		s.SecurityContext = []*corev1.PodSecurityContext{nil, {}, {RunAsUser: ptr.To[int64](1)}, {RunAsUser: ptr.To[int64](1), FSGroup: ptr.To[int64](2)}}[r.IntN(4)]
	case 6:
		s.Tolerations = [][]corev1.Toleration{nil, {{Key: "a"}}, {{Key: "a"}, {Key: "b"}}}[r.IntN(3)]
	case 7:
		s.Affinity = []*corev1.Affinity{nil, {}, {NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{}}}}[r.IntN(3)]
	case 8:
		s.NodeName, s.TerminationGracePeriodSeconds = pick(r, "", "n1"), []*int64{nil, ptr.To[int64](0), ptr.To[int64](30)}[r.IntN(3)]
	}
}

func editPod(r *rand.Rand, o txn.Object) {
	pod := o.(*corev1.Pod)
	switch r.IntN(4) {
	case 0:
		editMeta(r, o)
	case 1:
		pod.Status.Phase = corev1.PodPhase(pick(r, "", "Running"))
		pod.Status.StartTime = []*metav1.Time{nil, {Time: time.Unix(1, 0)}, {Time: time.Unix(2, 0)}}[r.IntN(3)]
		pod.Status.PodIPs = [][]corev1.PodIP{nil, {{IP: "1.1.1.1"}}, {{IP: "1.1.1.1"}, {IP: "::1"}}}[r.IntN(3)]
		pod.Status.Conditions = [][]corev1.PodCondition{nil, {{Type: "Ready", Status: "True"}}, {{Type: "Ready", Status: "False"}, {Type: "X"}}}[r.IntN(3)]
	default:
		editPodSpec(r, &pod.Spec)
	}
}

func editDeployment(r *rand.Rand, o txn.Object) {
	d := o.(*appsv1.Deployment)
	switch r.IntN(6) {
	case 0:
		editMeta(r, o)
	case 1:
		d.Spec.Replicas = []*int32{nil, ptr.To[int32](1), ptr.To[int32](2)}[r.IntN(3)]
	case 2:
		d.Spec.Strategy = []appsv1.DeploymentStrategy{{}, {Type: "Recreate"}, {RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromInt32(1))}}, {RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromString("25%")), MaxUnavailable: ptr.To(intstr.FromInt32(0))}}}[r.IntN(4)]
	case 3:
		d.Spec.Selector = []*metav1.LabelSelector{nil, {}, {MatchLabels: map[string]string{"a": "b"}}, {MatchLabels: map[string]string{"a": "c"}, MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x"}}}}[r.IntN(4)]
	case 4:
		d.Status = []appsv1.DeploymentStatus{{}, {Replicas: 1}, {Replicas: 1, ReadyReplicas: 1, Conditions: []appsv1.DeploymentCondition{{Type: "Available"}}}}[r.IntN(3)]
	default:
		if r.IntN(2) == 0 {
			d.Spec.Template.Labels = []map[string]string{nil, {"a": "b"}, {"a": "c", "d": "e"}}[r.IntN(3)]
		}
		editPodSpec(r, &d.Spec.Template.Spec)
	}
}

func editService(r *rand.Rand, o txn.Object) {
	s := o.(*corev1.Service)
	switch r.IntN(4) {
	case 0:
		editMeta(r, o)
	case 1:
		s.Spec.Ports = [][]corev1.ServicePort{nil, {{Port: 80, Protocol: "TCP"}}, {{Port: 80, Protocol: "TCP", TargetPort: intstr.FromString("http")}, {Port: 53, Protocol: "UDP"}}}[r.IntN(3)]
	case 2:
		s.Spec.Selector = []map[string]string{nil, {"a": "1"}, {"a": "2"}}[r.IntN(3)]
	case 3:
		s.Spec.ClusterIPs = [][]string{nil, {"1.1.1.1"}, {"1.1.1.1", "::1"}}[r.IntN(3)]
		s.Status.LoadBalancer = []corev1.LoadBalancerStatus{{}, {Ingress: []corev1.LoadBalancerIngress{{IP: "1.2.3.4"}}}}[r.IntN(2)]
	}
}

func editConfigMap(r *rand.Rand, o txn.Object) {
	cm := o.(*corev1.ConfigMap)
	switch r.IntN(4) {
	case 0:
		editMeta(r, o)
	case 1:
		cm.Immutable = []*bool{nil, ptr.To(true), ptr.To(false)}[r.IntN(3)]
	case 2:
		cm.BinaryData = []map[string][]byte{nil, {"b": []byte("1")}, {"b": []byte("2"), "c": nil}}[r.IntN(3)]
	default:
		cm.Data = []map[string]string{nil, {}, {"a": "1"}, {"a": "2", "b": "1"}, {"b": ""}}[r.IntN(5)]
	}
}

// TestUpdateIsTheLibrarys lets several managers write an object at random and
// compares every entry that Update makes with the library's.
func TestUpdateIsTheLibrarys(t *testing.T) {
	t.Parallel()
	rows := kinds.All()
	scheme, err := kinds.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	fields := fieldmanager.New(scheme)
	tests := map[string]edits{"Pod": editPod, "Deployment": editDeployment, "Service": editService, "ConfigMap": editConfigMap}
	for _, row := range rows {
		edit := tests[row.GVK.Kind]
		if edit == nil {
			continue
		}
		k := *row
		k.Subresources = map[string]kind.Subresource{"status": {Resets: row.Subresources["status"].Resets}}
		t.Run(k.GVK.Kind, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(40) {
				if !story(t, fields, &k, edit, rand.New(rand.NewPCG(seed, 1))) {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

// story is a life of an object; false when the two disagree.
func story(t *testing.T, fields *fieldmanager.Fields, k *kind.Kind, edit edits, r *rand.Rand) bool {
	t.Helper()
	var old txn.Object
	for step := range 25 {
		o := k.New()
		if old != nil {
			o = old.DeepCopyObject().(txn.Object)
			o.GetObjectKind().SetGroupVersionKind(k.GVK)
			if r.IntN(2) == 0 {
				o.SetManagedFields(nil) // a client that does not know them
			}
		}
		o.SetName("x")
		o.SetNamespace("shop")
		o.SetUID("uid")
		w := fieldmanager.Writer{
			Manager: pick(r, "alice", "bob", "carol"), Version: k.GVK.GroupVersion(), Subresource: pick(r, "", "", "status"),
			Now: time.Date(2026, 1, 1, 0, 0, step, 0, time.UTC),
		}
		if old == nil {
			w.Subresource = ""
		}
		for range r.IntN(3) + 1 {
			edit(r, o)
		}
		fast, oracle := o.DeepCopyObject().(txn.Object), o.DeepCopyObject().(txn.Object)
		if err := fields.Update(k, old, fast, w); err != nil {
			t.Errorf("step %d: %v", step, err)
			return false
		}
		if err := fields.UpdateByLibrary(k, old, oracle, w); err != nil {
			t.Errorf("step %d: library: %v", step, err)
			return false
		}
		if diff := cmp.Diff(lines(oracle), lines(fast)); diff != "" {
			was, _ := json.Marshal(old)
			is, _ := json.Marshal(o)
			t.Errorf("step %d, %s through %q (-library +ours):\n%s\nfrom %s\nto   %s", step, w.Manager, w.Subresource, diff, was, is)
			return false
		}
		old = fast
		if r.IntN(6) == 0 {
			old = o // some other write path loses track
		}
	}
	return true
}

// TestCreateIsTheLibrarys creates many objects that are alike, so that most
// fields are remembered ones, and compares with the library's.
func TestCreateIsTheLibrarys(t *testing.T) {
	t.Parallel()
	scheme, err := kinds.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	fields := fieldmanager.New(scheme)
	tests := map[string]edits{"Pod": editPod, "Deployment": editDeployment, "Service": editService, "ConfigMap": editConfigMap}
	for _, row := range kinds.All() {
		edit := tests[row.GVK.Kind]
		if edit == nil {
			continue
		}
		k := *row
		k.Subresources = map[string]kind.Subresource{"status": {}}
		t.Run(k.GVK.Kind, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, 2))
			for i := range 400 {
				o := k.New()
				o.SetName(fmt.Sprint("x", i))
				o.SetCreationTimestamp(metav1.Unix(int64(i), 0))
				for range r.IntN(5) {
					edit(r, o)
				}
				w := fieldmanager.Writer{Manager: pick(r, "alice", "bob"), Version: k.GVK.GroupVersion(), Now: time.Unix(int64(i), 0)}
				fast, oracle := o.DeepCopyObject().(txn.Object), o.DeepCopyObject().(txn.Object)
				if err := errors.Join(fields.Update(&k, nil, fast, w), fields.UpdateByLibrary(&k, nil, oracle, w)); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(lines(oracle), lines(fast)); diff != "" {
					is, _ := json.Marshal(o)
					t.Fatalf("creation %d (-library +ours):\n%s\nof %s", i, diff, is)
				}
			}
		})
	}
}

func lines(o txn.Object) []string {
	var out []string
	for _, e := range o.GetManagedFields() {
		out = append(out, fmt.Sprintf("%s %s %s %q %s %s", e.Manager, e.Operation, e.APIVersion, e.Subresource, e.Time.UTC().Format(time.TimeOnly), e.FieldsV1.Raw))
	}
	return out
}
