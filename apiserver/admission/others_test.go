package admission_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission"
	"github.com/headway-sh/headway/apiserver/write"
)

func storageClass(name string, age int, isDefault bool) *storagev1.StorageClass {
	c := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(int64(1000-age), 0)}}
	if isDefault {
		c.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
	}
	return c
}

func claim(change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data"}}
	for _, f := range change {
		f(c)
	}
	return c
}

func TestDefaultStorageClass(t *testing.T) {
	t.Parallel()
	named := func(name string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = &name }
	}
	tests := []struct {
		name    string
		classes []txn.Object
		claim   *corev1.PersistentVolumeClaim
		want    *string
	}{
		{"no default", []txn.Object{storageClass("tin", 1, false)}, claim(), nil},
		{"the newest default", []txn.Object{storageClass("old", 9, true), storageClass("new", 2, true), storageClass("newest", 1, false)}, claim(), ptr.To("new")},
		{"of one age, the first", []txn.Object{storageClass("b", 1, true), storageClass("a", 1, true)}, claim(), ptr.To("a")},
		{"another was chosen", []txn.Object{storageClass("new", 2, true)}, claim(named("tin")), ptr.To("tin")},
		{"none was chosen", []txn.Object{storageClass("new", 2, true)}, claim(named("")), ptr.To("")},
		{"chosen as of old", []txn.Object{storageClass("new", 2, true)}, claim(func(c *corev1.PersistentVolumeClaim) {
			c.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: "tin"}
		}), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			says(t, step(t, "DefaultStorageClass", view(t, test.classes...), request(t, test.claim, nil)), "")
			if got := test.claim.Spec.StorageClassName; !ptr.Equal(got, test.want) {
				t.Errorf("class %q, want %q", ptr.Deref(got, "unset"), ptr.Deref(test.want, "unset"))
			}
		})
	}
}

func TestDefaultIngressClass(t *testing.T) {
	t.Parallel()
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "front", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}}}
	open := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	chosen := open.DeepCopy()
	chosen.Annotations = map[string]string{"kubernetes.io/ingress.class": "back"}
	says(t, step(t, "DefaultIngressClass", view(t, class), request(t, open, nil)), "")
	says(t, step(t, "DefaultIngressClass", view(t, class), request(t, chosen, nil)), "")
	if got := ptr.Deref(open.Spec.IngressClassName, ""); got != "front" {
		t.Errorf("class %q, want front", got)
	}
	if chosen.Spec.IngressClassName != nil {
		t.Errorf("class %q beside the annotation", *chosen.Spec.IngressClassName)
	}
}

func TestStorageProtection(t *testing.T) {
	t.Parallel()
	c := claim()
	for range 2 { // the second time it is there
		says(t, step(t, "StorageObjectInUseProtection", view(t), request(t, c, nil)), "")
	}
	if want := []string{"kubernetes.io/pvc-protection"}; !slices.Equal(c.Finalizers, want) {
		t.Errorf("finalizers %v, want %v", c.Finalizers, want)
	}
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}}
	says(t, step(t, "StorageObjectInUseProtection", view(t), request(t, v, nil)), "")
	if want := []string{"kubernetes.io/pv-protection"}; !slices.Equal(v.Finalizers, want) {
		t.Errorf("finalizers %v, want %v", v.Finalizers, want)
	}
}

func TestClaimResize(t *testing.T) {
	t.Parallel()
	sized := func(size string, phase corev1.PersistentVolumeClaimPhase) *corev1.PersistentVolumeClaim {
		return claim(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.StorageClassName, c.Spec.Resources.Requests, c.Status.Phase = ptr.To("gold"), amounts("storage", size), phase
		})
	}
	grows := storageClass("gold", 1, false)
	grows.AllowVolumeExpansion = ptr.To(true)
	const notBound, noClass = `persistentvolumeclaims "data" is forbidden: Only bound persistent volume claims can be expanded`,
		`persistentvolumeclaims "data" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize`
	tests := []struct {
		name     string
		class    *storagev1.StorageClass
		from, to *corev1.PersistentVolumeClaim
		want     string
	}{
		{"grows", grows, sized("1Gi", corev1.ClaimBound), sized("2Gi", corev1.ClaimBound), ""},
		{"stays", storageClass("gold", 1, false), sized("1Gi", corev1.ClaimPending), sized("1Gi", corev1.ClaimPending), ""},
		{"not bound", grows, sized("1Gi", corev1.ClaimPending), sized("2Gi", corev1.ClaimPending), notBound},
		{"a class that cannot", storageClass("gold", 1, false), sized("1Gi", corev1.ClaimBound), sized("2Gi", corev1.ClaimBound), noClass},
		{"no class", storageClass("tin", 1, false), sized("1Gi", corev1.ClaimBound), sized("2Gi", corev1.ClaimBound), noClass},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			says(t, step(t, "PersistentVolumeClaimResize", view(t, test.class), request(t, test.to, test.from)), test.want)
		})
	}
}

func TestExternalIPs(t *testing.T) {
	t.Parallel()
	at := func(ips ...string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{ExternalIPs: ips}}
	}
	const refusal = `services "web" is forbidden: Use of external IPs is denied by admission control`
	tests := []struct {
		name    string
		allowed string
		object  *corev1.Service
		old     txn.Object
		want    string
	}{
		{name: "none", object: at()},
		{name: "a new one", object: at("203.0.113.7"), want: refusal},
		{name: "one more", object: at("203.0.113.7", "203.0.113.8"), old: at("203.0.113.7"), want: refusal},
		{name: "one less", object: at("203.0.113.7"), old: at("203.0.113.7", "203.0.113.8")},
		{name: "in the allowed range", allowed: "203.0.113.0/24", object: at("203.0.113.7")},
		{name: "outside of it", allowed: "203.0.113.0/24", object: at("203.0.114.7"), want: refusal},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var c admission.Config
			if test.allowed != "" {
				c.ExternalIPs = []netip.Prefix{netip.MustParsePrefix(test.allowed)}
			}
			says(t, stepOf(t, c, "DenyServiceExternalIPs", view(t), request(t, test.object, test.old)), test.want)
		})
	}
}

func TestForeignEndpoints(t *testing.T) {
	t.Parallel()
	slice := func(ips ...string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Endpoints: []discoveryv1.Endpoint{{Addresses: ips}}}
	}
	old := func(ip string) *corev1.Endpoints { //nolint:staticcheck // deprecated, and served
		return &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Subsets: []corev1.EndpointSubset{{NotReadyAddresses: []corev1.EndpointAddress{{IP: ip}}}}} //nolint:staticcheck // as above
	}
	placed := func(namespace, name, ip string) *corev1.Pod {
		return pod(func(p *corev1.Pod) {
			p.Namespace, p.Name, p.Status.PodIPs = namespace, name, []corev1.PodIP{{IP: ip}}
		})
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}}}
	v := view(t, node, placed("shop", "mine", "10.42.0.5"), placed("bank", "theirs", "10.42.0.6"))
	tests := []struct {
		name        string
		object, old txn.Object
		group       string
		want        string
	}{
		{name: "outside of the cluster", object: slice("203.0.113.7")},
		{name: "a pod of one's own", object: slice("10.42.0.5")},
		{name: "somebody else's pod", object: slice("10.42.0.5", "10.42.0.6"),
			want: `endpointslices.discovery.k8s.io "web" is forbidden: endpoint address 10.42.0.6 belongs to a pod of another namespace, and is restricted`},
		{name: "a service", object: slice("10.96.0.1"), want: `endpointslices.discovery.k8s.io "web" is forbidden: endpoint address 10.96.0.1 is a service address, and is restricted`},
		{name: "a node", object: old("192.0.2.1"), want: `endpoints "web" is forbidden: endpoint address 192.0.2.1 belongs to node n1, and is restricted`},
		{name: "somebody with the right", object: slice("10.96.0.1"), group: "system:masters"},
		{name: "it was there before", object: slice("10.42.0.6"), old: slice("10.42.0.6", "203.0.113.7")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := request(t, test.object, test.old)
			r.Identity.Groups = []string{test.group}
			says(t, step(t, "RestrictedEndpoints", v, r), test.want)
		})
	}
}

func TestStoragePressure(t *testing.T) {
	t.Parallel()
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "e"}}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "l"}}
	tests := []struct {
		name        string
		full        float64
		object, old txn.Object
		subresource string
		want        string
	}{
		{name: "an event with room", full: 0.69, object: event},
		{name: "an event without", full: 0.7, object: event, want: `events "e" is refused: the cluster's storage is 70 % full, and events are let in up to 70 %: delete what is not needed`},
		{name: "an event once more", full: 0.7, object: event, old: event, want: `events "e" is refused: the cluster's storage is 70 % full, and events are let in up to 70 %: delete what is not needed`},
		{name: "a pod where events stop", full: 0.84, object: pod()},
		{name: "a pod without room", full: 0.9, object: pod(), want: `pods "web" is refused: the cluster's storage is 90 % full, and new objects are let in up to 85 %: delete what is not needed`},
		{name: "a lease", full: 0.99, object: lease},
		{name: "a change", full: 0.99, object: pod(), old: pod()},
		{name: "a deletion", full: 0.99, old: pod()},
		{name: "an event's deletion", full: 0.99, old: event},
		{name: "a binding", full: 0.99, object: pod(), subresource: "binding"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := request(t, test.object, test.old)
			if r.Subresource = test.subresource; test.subresource == "binding" {
				r.Operation = write.OperationCreate
			}
			c := admission.Config{Pressure: func() float64 { return test.full }}
			says(t, stepOf(t, c, "StoragePressure", view(t), r), test.want)
		})
	}
}

func TestDevices(t *testing.T) {
	t.Parallel()
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: resourcev1.ResourceSliceSpec{
		Devices: []resourcev1.Device{{Taints: []resourcev1.DeviceTaint{{Key: "new"}, {Key: "old", TimeAdded: &metav1.Time{Time: time.Unix(5, 0)}}}}}}}
	r := request(t, slice, nil)
	says(t, step(t, "Devices", view(t), r), "")
	for i, want := range []time.Time{r.Now, time.Unix(5, 0)} {
		if got := slice.Spec.Devices[0].Taints[i].TimeAdded; !got.Time.Equal(want) {
			t.Errorf("taint %d added at %s, want %s", i, got, want)
		}
	}
	admin := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "c"}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
		Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{AdminAccess: ptr.To(true)}}}}}}
	ns := namespace("shop", corev1.NamespaceActive)
	says(t, step(t, "Devices", view(t, ns), request(t, admin, nil)),
		"ResourceClaim.resource.k8s.io \"c\" is invalid: spec.devices.requests[0].exactly.adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace")
	ns.Labels = map[string]string{"resource.kubernetes.io/admin-access": "true"}
	says(t, step(t, "Devices", view(t, ns), request(t, admin, nil)), "")
}

func TestTopologyLabels(t *testing.T) {
	t.Parallel()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelTopologyZone: "a", corev1.LabelHostname: "n1"}}}
	bound := func(to string) *corev1.Pod {
		return pod(func(p *corev1.Pod) {
			p.Spec.NodeName, p.Labels = to, map[string]string{"app": "web", corev1.LabelTopologyZone: "claimed"}
		})
	}
	for _, test := range []struct {
		name, node, subresource string
		want                    map[string]string
	}{
		{"bound", "n1", "binding", map[string]string{"app": "web", corev1.LabelTopologyZone: "a"}},
		{"bound to a node that is not there", "n2", "binding", map[string]string{"app": "web", corev1.LabelTopologyZone: "claimed"}},
		{"otherwise written", "n1", "status", map[string]string{"app": "web", corev1.LabelTopologyZone: "claimed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := bound(test.node)
			before := p.Labels
			r := request(t, p, bound(""))
			r.Subresource = test.subresource
			says(t, step(t, "PodTopologyLabels", view(t, node), r), "")
			if diff := cmp.Diff(test.want, p.Labels); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			if before[corev1.LabelTopologyZone] != "claimed" {
				t.Error("the labels that the pod shares were changed")
			}
		})
	}
}
