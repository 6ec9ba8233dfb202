package quota_test

import (
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/internal/quota"
)

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// list reads "cpu=1,memory=1Gi".
func list(text string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for part := range strings.SplitSeq(text, ",") {
		if name, q, ok := strings.Cut(part, "="); ok {
			l[corev1.ResourceName(name)] = resource.MustParse(q)
		}
	}
	return l
}

func of(hard string, change ...func(*corev1.ResourceQuota)) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "few"}, Spec: corev1.ResourceQuotaSpec{Hard: list(hard)}}
	for _, f := range change {
		f(q)
	}
	return q
}

func scoped(scopes ...corev1.ResourceQuotaScope) func(*corev1.ResourceQuota) {
	return func(q *corev1.ResourceQuota) { q.Spec.Scopes = scopes }
}

func selecting(scope corev1.ResourceQuotaScope, operator corev1.ScopeSelectorOperator, values ...string) func(*corev1.ResourceQuota) {
	return func(q *corev1.ResourceQuota) {
		q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{ScopeName: scope, Operator: operator, Values: values}}}
	}
}

func pod(requests, limits string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)}}}},
		Status: corev1.PodStatus{QOSClass: corev1.PodQOSBurstable},
	}
	if requests+limits == "" {
		p.Status.QOSClass = corev1.PodQOSBestEffort
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func claim(size, class string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: ptr.To(class), Resources: corev1.VolumeResourceRequirements{Requests: list("storage=" + size)}}}
	for _, f := range change {
		f(c)
	}
	return c
}

func service(kind corev1.ServiceType, ports ...int32) *corev1.Service {
	s := &corev1.Service{Spec: corev1.ServiceSpec{Type: kind}}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{NodePort: p})
	}
	return s
}

func devices(requests ...resourcev1.DeviceRequest) *resourcev1.ResourceClaim {
	return &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: requests}}}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	const all = "pods=9,count/pods=9,cpu=9,requests.cpu=9,limits.cpu=9,memory=9,requests.memory=9,limits.memory=9"
	deadline := func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](5) }
	class := func(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.PriorityClassName = name } }
	around := func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
			{PodAffinityTerm: corev1.PodAffinityTerm{Namespaces: []string{"other"}}}}}}
	}
	attributes := func(name string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = &name }
	}
	tests := []struct {
		name     string
		quota    *corev1.ResourceQuota
		resource string
		object   runtime.Object
		want     string
	}{
		{"a pod's requests and limits", of(all), "pods", pod("cpu=1,memory=1Gi", "cpu=2"),
			"count/pods=1,cpu=1,limits.cpu=2,memory=1Gi,pods=1,requests.cpu=1,requests.memory=1Gi"},
		{"only what is limited", of("pods=1"), "pods", pod("cpu=1", ""), "pods=1"},
		{"further kinds of requests", of("requests.example.com/gpu=1,requests.hugepages-2Mi=1,hugepages-2Mi=1,ephemeral-storage=1,limits.ephemeral-storage=1"), "pods",
			pod("example.com/gpu=2,hugepages-2Mi=4Mi,ephemeral-storage=1Gi", "ephemeral-storage=2Gi"),
			"ephemeral-storage=1Gi,hugepages-2Mi=4Mi,limits.ephemeral-storage=2Gi,requests.example.com/gpu=2,requests.hugepages-2Mi=4Mi"},
		{"an ended pod is only an object", of(all), "pods", pod("cpu=1", "", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), "count/pods=1"},
		{"so is a pod that is stuck", of(all), "pods", pod("cpu=1", "", func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: now.Add(-31 * time.Second)}, ptr.To[int64](30)
		}), "count/pods=1"},
		{"a pod may take its time to end", of("pods=1"), "pods", pod("", "", func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: now.Add(-29 * time.Second)}, ptr.To[int64](30)
		}), "pods=1"},
		{"overhead counts", of("requests.cpu=1"), "pods", pod("cpu=1", "", func(p *corev1.Pod) { p.Spec.Overhead = list("cpu=250m") }), "requests.cpu=1250m"},
		{"in scope Terminating", of("pods=1", scoped("Terminating")), "pods", pod("", "", deadline), "pods=1"},
		{"out of scope Terminating", of("pods=1", scoped("Terminating")), "pods", pod("", ""), ""},
		{"in scope NotTerminating", of("pods=1", scoped("NotTerminating")), "pods", pod("", ""), "pods=1"},
		{"in scope BestEffort", of("pods=1", scoped("BestEffort")), "pods", pod("", ""), "pods=1"},
		{"out of scope BestEffort", of("pods=1", scoped("BestEffort")), "pods", pod("cpu=1", ""), ""},
		{"in one of two scopes", of("pods=1", scoped("NotBestEffort", "Terminating")), "pods", pod("cpu=1", ""), ""},
		{"in both scopes", of("pods=1", scoped("NotBestEffort", "Terminating")), "pods", pod("cpu=1", "", deadline), "pods=1"},
		{"some priority class", of("pods=1", scoped("PriorityClass")), "pods", pod("", "", class("high")), "pods=1"},
		{"this priority class", of("pods=1", selecting("PriorityClass", "In", "high")), "pods", pod("", "", class("high")), "pods=1"},
		{"another priority class", of("pods=1", selecting("PriorityClass", "In", "high")), "pods", pod("", "", class("low")), ""},
		{"not this priority class", of("pods=1", selecting("PriorityClass", "NotIn", "high")), "pods", pod("", ""), "pods=1"},
		{"no priority class", of("pods=1", selecting("PriorityClass", "DoesNotExist")), "pods", pod("", "", class("high")), ""},
		{"looks at other namespaces", of("pods=1", scoped("CrossNamespacePodAffinity")), "pods", pod("", "", around), "pods=1"},
		{"looks at its own namespace", of("pods=1", scoped("CrossNamespacePodAffinity")), "pods", pod("", ""), ""},
		{"services know no pod scopes", of("services=1", scoped("Terminating")), "services", service("ClusterIP", 0), ""},
		{"a service", of("services=1,services.nodeports=1,services.loadbalancers=1"), "services", service("ClusterIP", 0), "services.loadbalancers=0,services.nodeports=0,services=1"},
		{"node ports", of("services.nodeports=1"), "services", service("NodePort", 0, 0), "services.nodeports=2"},
		{"a load balancer", of("services.nodeports=1,services.loadbalancers=1"), "services", service("LoadBalancer", 0), "services.loadbalancers=1,services.nodeports=1"},
		{"a load balancer with few node ports", of("services.nodeports=1"), "services", func() runtime.Object {
			s := service("LoadBalancer", 0, 30001)
			s.Spec.AllocateLoadBalancerNodePorts = ptr.To(false)
			return s
		}(), "services.nodeports=1"},
		{"a claim, by class too", of("requests.storage=1,persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,tin.storageclass.storage.k8s.io/persistentvolumeclaims=1"),
			"persistentvolumeclaims", claim("5Gi", "gold"),
			"gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=5Gi,persistentvolumeclaims=1,requests.storage=5Gi"},
		{"a claim that has more than it asks for", of("requests.storage=1"), "persistentvolumeclaims",
			claim("5Gi", "", func(c *corev1.PersistentVolumeClaim) { c.Status.AllocatedResources = list("storage=7Gi") }), "requests.storage=7Gi"},
		{"whole bytes", of("requests.storage=1"), "persistentvolumeclaims", claim("1500m", ""), "requests.storage=2"},
		{"a volume attributes class", of("persistentvolumeclaims=1", selecting("VolumeAttributesClass", "In", "fast")), "persistentvolumeclaims", claim("1", "", attributes("fast")), "persistentvolumeclaims=1"},
		{"another volume attributes class", of("persistentvolumeclaims=1", selecting("VolumeAttributesClass", "In", "fast")), "persistentvolumeclaims", claim("1", "", attributes("slow")), ""},
		{"any object", of("count/deployments.apps=1"), "deployments.apps", &corev1.Secret{}, "count/deployments.apps=1"},
		{"both names of old kinds", of("secrets=1,count/secrets=1"), "secrets", &corev1.Secret{}, "count/secrets=1,secrets=1"},
		{"events never count", of("count/events=1"), "events", &corev1.Event{}, ""},
		{"devices in the worst case", of("gpu.deviceclass.resource.k8s.io/devices=1,nic.deviceclass.resource.k8s.io/devices=1"), "resourceclaims.resource.k8s.io", devices(
			resourcev1.DeviceRequest{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 2}},
			resourcev1.DeviceRequest{FirstAvailable: []resourcev1.DeviceSubRequest{
				{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1},
				{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 3},
				{DeviceClassName: "nic", AllocationMode: resourcev1.DeviceAllocationModeAll}}}),
			"gpu.deviceclass.resource.k8s.io/devices=5,nic.deviceclass.resource.k8s.io/devices=32"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := quota.Text(quota.Usage(test.quota, schema.ParseGroupResource(test.resource), test.object, now))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("usage (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	q := of("pods=1,cpu=2")
	tests := []struct {
		name            string
		used, requested string
		want            string
	}{
		{"fits", "pods=0,cpu=1", "pods=1,cpu=1", ""},
		{"too many", "pods=1,cpu=1", "pods=1,cpu=1", "exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1"},
		{"too much of two", "pods=1,cpu=1500m", "pods=1,cpu=1", "exceeded quota: few, requested: cpu=1,pods=1, used: cpu=1500m,pods=1, limited: cpu=2,pods=1"},
		{"overdrawn in something else", "pods=7,cpu=1", "cpu=1", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := text(quota.Exceeded(q, list(test.used), list(test.requested))); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestUnstated(t *testing.T) {
	t.Parallel()
	two := func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "a"}} }
	whole := func(p *corev1.Pod) { p.Spec.Resources = &corev1.ResourceRequirements{Requests: list("cpu=1")} }
	tests := []struct {
		name string
		hard string
		pod  *corev1.Pod
		want string
	}{
		{"nothing stated", "cpu=1", pod("", ""), "failed quota: few: must specify cpu for: c"},
		{"stated", "cpu=1,limits.memory=1", pod("cpu=1", "memory=1"), ""},
		{"two containers, two resources", "requests.cpu=1,limits.memory=1Gi", pod("cpu=1", "", two), "failed quota: few: must specify limits.memory for: a,c; requests.cpu for: a"},
		{"stated for the pod", "cpu=1,limits.cpu=1", pod("", "", whole), ""},
		{"need not be stated", "pods=1,ephemeral-storage=1,requests.example.com/gpu=1", pod("", ""), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := text(quota.Unstated(of(test.hard), test.pod)); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	q := of("pods=5,cpu=4,services=2,count/widgets.example.com=1,nonsense=3")
	if quota.Current(q) {
		t.Error("a quota that nobody has counted is current")
	}
	objects := map[schema.GroupResource][]runtime.Object{corev1.Resource("pods"): {pod("cpu=1", ""), pod("cpu=500m", "")}}
	q.Status = quota.Count(q, func(r schema.GroupResource) iter.Seq[runtime.Object] {
		return func(yield func(runtime.Object) bool) {
			for _, o := range objects[r] {
				if !yield(o) {
					return
				}
			}
		}
	}, now)
	got := fmt.Sprintf("%s of %s", quota.Text(q.Status.Used), quota.Text(q.Status.Hard))
	want := "count/widgets.example.com=0,cpu=1500m,pods=2,services=0 of count/widgets.example.com=1,cpu=4,nonsense=3,pods=5,services=2"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !quota.Current(q) {
		t.Error("a quota that has been counted is not current")
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
