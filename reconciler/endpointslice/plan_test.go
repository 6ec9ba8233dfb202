package endpointslice_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/reconciler/endpointslice"
)

func service() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "svc", Labels: map[string]string{"team": "a"}},
		Spec: corev1.ServiceSpec{ClusterIP: "10.43.0.9", Selector: map[string]string{"app": "web"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("web")}}}}
}

func pod(i int, port int32, ready bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("p%04d", i), UID: types.UID(fmt.Sprint("u", i))},
		Spec:   corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: port}}}}},
		Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: fmt.Sprintf("10.42.%d.%d", i/250, i%250+1)}, {IP: fmt.Sprintf("fd00::%x", i+1)}}}}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func TestOneSliceInFull(t *testing.T) {
	t.Parallel()
	going := pod(2, 8080, true)
	going.DeletionTimestamp = &metav1.Time{}
	plan := endpointslice.Compute(service(), []*corev1.Pod{pod(1, 8080, true), going, pod(3, 8080, false)}, map[string]string{"n1": "z1"}, nil)
	if len(plan.Create) != 1 || len(plan.Update)+len(plan.Delete) != 0 {
		t.Fatalf("plan %+v", plan)
	}
	got := plan.Create[0]
	endpoint := func(i int, ready, serving, terminating bool) discoveryv1.Endpoint {
		name := fmt.Sprintf("p%04d", i)
		return discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.42.0.%d", i+1)}, NodeName: ptr.To("n1"), Zone: ptr.To("z1"),
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: name, UID: types.UID(fmt.Sprint("u", i))}}
	}
	want := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", GenerateName: "web-", OwnerReferences: got.OwnerReferences, Labels: map[string]string{
			"team": "a", "kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To[int32](8080)}},
		Endpoints:   []discoveryv1.Endpoint{endpoint(1, true, true, false), endpoint(2, false, true, true), endpoint(3, false, false, false)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("slice (-want +got):\n%s", diff)
	}
}

// world applies plans as the API would.
type world struct {
	slices map[string]*discoveryv1.EndpointSlice
	next   int
}

func (w *world) list() (out []*discoveryv1.EndpointSlice) {
	for i := range w.next {
		if s := w.slices[fmt.Sprint(i)]; s != nil {
			out = append(out, s)
		}
	}
	return out
}

func (w *world) apply(p endpointslice.Plan) int {
	for _, s := range p.Delete {
		delete(w.slices, s.Name)
	}
	for _, s := range p.Update {
		w.slices[s.Name] = s
	}
	for _, s := range p.Create {
		s.Name = fmt.Sprint(w.next)
		w.next++
		w.slices[s.Name] = s
	}
	return len(p.Delete) + len(p.Update) + len(p.Create)
}

// TestSlicesAlwaysShowThePods: after every change each pod is shown once per
// family, no slice is too long, another pass writes nothing, and one pod's
// change touches few slices.
func TestSlicesAlwaysShowThePods(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{slices: map[string]*discoveryv1.EndpointSlice{}}
		s := service()
		if rapid.Bool().Draw(t, "dual") {
			s.Spec.IPFamilies = append(s.Spec.IPFamilies, corev1.IPv6Protocol)
		}
		pods := map[int]*corev1.Pod{}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			first, n := rapid.IntRange(0, 300).Draw(t, "first"), rapid.SampledFrom([]int{1, 1, 50, 230}).Draw(t, "count")
			remove := rapid.Bool().Draw(t, "remove")
			for i := first; i < first+n; i++ {
				delete(pods, i)
				if !remove {
					pods[i] = pod(i, rapid.SampledFrom([]int32{80, 8080}).Draw(t, "port"), i%3 > 0)
				}
			}
			var list []*corev1.Pod
			for _, p := range pods {
				list = append(list, p)
			}
			w.apply(endpointslice.Compute(s, list, nil, w.list()))
			seen := map[string]int{}
			for _, slice := range w.list() {
				if len(slice.Endpoints) > 100 {
					t.Fatalf("%d endpoints in a slice", len(slice.Endpoints))
				}
				for _, e := range slice.Endpoints {
					seen[string(e.TargetRef.UID)+string(slice.AddressType)]++
				}
			}
			if want := len(pods) * len(s.Spec.IPFamilies); len(seen) != want {
				t.Fatalf("%d endpoints, want %d", len(seen), want)
			}
			for uid, times := range seen {
				if times != 1 {
					t.Fatalf("%s is shown %d times", uid, times)
				}
			}
			if writes := w.apply(endpointslice.Compute(s, list, nil, w.list())); writes != 0 {
				t.Fatalf("a second pass writes %d times", writes)
			}
		}
	})
}
