package kinds_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
)

func TestScale(t *testing.T) {
	t.Parallel()
	k, d := valid[*appsv1.Deployment](t, "deployment")
	d.ResourceVersion = "7"
	scale := k.Subresources["scale"]
	got, err := scale.Get(d)
	if err != nil {
		t.Fatal(err)
	}
	s := got.(*autoscalingv1.Scale)
	if s.Spec.Replicas != 1 || s.Status.Selector != "app=web" || s.ResourceVersion != "7" {
		t.Errorf("scale is %+v", s)
	}
	s.Spec.Replicas = 5
	changed, err := scale.Set(d, s, goldenTime)
	if err != nil {
		t.Fatal(err)
	}
	k.Prepare(changed, d)
	if c := changed.(*appsv1.Deployment); *c.Spec.Replicas != 5 || c.Generation != 2 || *d.Spec.Replicas != 1 {
		t.Errorf("scaled to %d at generation %d; before it is %d", *c.Spec.Replicas, c.Generation, *d.Spec.Replicas)
	}
	s.ResourceVersion = "6"
	if _, err := scale.Set(d, s, goldenTime); !apierrors.IsConflict(err) {
		t.Errorf("a stale scale gives %v", err)
	}
	s.ResourceVersion, s.Spec.Replicas = "", -1
	if _, err := scale.Set(d, s, goldenTime); !apierrors.IsInvalid(err) {
		t.Errorf("a negative scale gives %v", err)
	}
}

func TestStatusAndSpecStayApart(t *testing.T) {
	t.Parallel()
	k, old := valid[*appsv1.Deployment](t, "deployment")
	written := old.DeepCopy()
	written.Labels = map[string]string{"a": "b"}
	written.Spec.Replicas = ptr.To[int32](3)
	written.Status.Replicas = 3

	o := written.DeepCopy()
	k.Prepare(o, old)
	if o.Status.Replicas != 0 || *o.Spec.Replicas != 3 || o.Generation != 2 || o.Labels["a"] != "b" {
		t.Errorf("main write: %+v", o)
	}
	o = written.DeepCopy()
	k.Subresources["status"].Prepare(o, old)
	if o.Status.Replicas != 3 || *o.Spec.Replicas != 1 || o.Generation != 1 || len(o.Labels) != 0 {
		t.Errorf("status write: %+v", o)
	}
	if errs := k.Subresources["status"].Validate(o, old); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
}

func TestStatusTakesMetadataAlong(t *testing.T) {
	t.Parallel()
	k, old := valid[*networkingv1.Ingress](t, "ingress")
	o := old.DeepCopy()
	o.Labels, o.Annotations = map[string]string{"a": "b"}, map[string]string{"c": "d"}
	o.Finalizers, o.OwnerReferences = []string{"x/y"}, []metav1.OwnerReference{{Name: "o"}}
	k.Subresources["status"].Prepare(o, old)
	if o.Labels["a"] != "b" || o.Annotations["c"] != "d" || len(o.Finalizers)+len(o.OwnerReferences) != 2 {
		t.Errorf("a status write left %+v", o.ObjectMeta)
	}
}

func TestStatusKeepsWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	pods, pod := valid[*corev1.Pod](t, "pod")
	p := pod.DeepCopy()
	p.Finalizers, p.OwnerReferences = []string{"x/y"}, []metav1.OwnerReference{{Name: "o"}}
	pods.Subresources["status"].Prepare(p, pod)
	if len(p.Finalizers) != 1 || len(p.OwnerReferences) > 0 {
		t.Errorf("a pod's status write left %+v", p.ObjectMeta)
	}
	schemas, schema := valid[*flowcontrolv1.FlowSchema](t, "flowschema")
	s := schema.DeepCopy()
	s.Labels, s.Finalizers = map[string]string{"a": "b"}, []string{"x/y"}
	schemas.Subresources["status"].Prepare(s, schema)
	if diff := cmp.Diff(schema, s); diff != "" {
		t.Errorf("a flow schema's status write (-want +got):\n%s", diff)
	}
}

func TestBinding(t *testing.T) {
	t.Parallel()
	k, p := valid[*corev1.Pod](t, "pod")
	binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	got, err := k.Subresources["binding"].Set(p, binding, goldenTime)
	if err != nil {
		t.Fatal(err)
	}
	bound := got.(*corev1.Pod)
	want := []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: goldenTime}, ObservedGeneration: 1}}
	if diff := cmp.Diff(want, bound.Status.Conditions); bound.Spec.NodeName != "n1" || diff != "" {
		t.Errorf("bound to %q, conditions (-want +got):\n%s", bound.Spec.NodeName, diff)
	}
	if _, err := k.Subresources["binding"].Set(bound, binding, goldenTime); !apierrors.IsConflict(err) {
		t.Errorf("a second binding gives %v", err)
	}
	if _, err := k.Subresources["binding"].Set(p, &corev1.Binding{}, goldenTime); !apierrors.IsInvalid(err) {
		t.Errorf("a binding to nothing gives %v", err)
	}
}

func TestPodDeletion(t *testing.T) {
	t.Parallel()
	seconds := func(n int64) *metav1.DeleteOptions { return &metav1.DeleteOptions{GracePeriodSeconds: &n} }
	bound := func(p *corev1.Pod) { p.Spec.NodeName = "n1" }
	for _, tt := range []struct {
		name    string
		pod     func(p *corev1.Pod)
		options *metav1.DeleteOptions
		want    int64 // 0: at once
	}{
		{"unbound", func(*corev1.Pod) {}, nil, 0},
		{"bound", bound, nil, 30},
		{"now", bound, seconds(0), 0},
		{"in 5", bound, seconds(5), 5},
		{"negative", bound, seconds(-1), 1},
		{"finished", func(p *corev1.Pod) { bound(p); p.Status.Phase = corev1.PodFailed }, nil, 0},
	} {
		k, p := valid[*corev1.Pod](t, "pod")
		tt.pod(p)
		got := k.Delete(p, tt.options, goldenTime)
		if got.Graceful != (tt.want > 0) || got.GracePeriodSeconds != tt.want {
			t.Errorf("%s: %+v, want %d s", tt.name, got, tt.want)
		}
	}
}

func TestNamespaceDeletion(t *testing.T) {
	t.Parallel()
	k, ns := valid[*corev1.Namespace](t, "namespace")
	d := k.Delete(ns, nil, goldenTime)
	c, ok := d.Changed.(*corev1.Namespace)
	if !ok || c.Status.Phase != corev1.NamespaceTerminating || !c.DeletionTimestamp.Time.Equal(goldenTime) || !k.Held(c) {
		t.Fatalf("deletion begins with %+v", d)
	}
	stubborn := c.DeepCopy()
	stubborn.Spec.Finalizers = nil
	k.Prepare(stubborn, c)
	if !k.Held(stubborn) {
		t.Error("a main write takes the finalizer away")
	}
	done := c.DeepCopy()
	done.Spec.Finalizers = nil
	k.Subresources["finalize"].Prepare(done, c)
	if k.Held(done) {
		t.Error("finalize does not take the finalizer away")
	}
	if d := k.Delete(done, nil, goldenTime); d != (k.Delete(done, nil, time.Time{})) || d.Changed != nil || d.Graceful {
		t.Errorf("an empty namespace: %+v", d)
	}
}

func TestApproval(t *testing.T) {
	t.Parallel()
	k, csr := valid[*certificatesv1.CertificateSigningRequest](t, "certificatesigningrequest")
	sub := k.Subresources["approval"]
	written := csr.DeepCopy()
	written.Spec.Username = "mallory"
	written.Annotations = map[string]string{"why": "asked"}
	written.Status.Certificate = []byte("x")
	written.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}
	got, err := sub.Set(csr, written, goldenTime)
	if err != nil {
		t.Fatal(err)
	}
	sub.Prepare(got, csr)
	o := got.(*certificatesv1.CertificateSigningRequest)
	if o.Annotations["why"] != "asked" {
		t.Errorf("approval dropped the annotations: %v", o.Annotations)
	}
	if errs := sub.Validate(o, csr); len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	if o.Spec.Username != csr.Spec.Username || len(o.Status.Certificate) > 0 || k.Row(o, goldenTime)[5] != "Approved" ||
		!o.Status.Conditions[0].LastTransitionTime.Time.Equal(goldenTime) {
		t.Errorf("approved: %+v", o)
	}
	if errs := k.Subresources["status"].Validate(o, csr); len(errs) != 1 {
		t.Errorf("approval through status: %v", errs.ToAggregate())
	}
	denied := o.DeepCopy()
	denied.Status.Conditions = append(denied.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue})
	if errs := sub.Validate(denied, o); len(errs) != 1 {
		t.Errorf("approved and denied: %v", errs.ToAggregate())
	}
}

func TestEphemeralContainersAndResize(t *testing.T) {
	t.Parallel()
	k, old := valid[*corev1.Pod](t, "pod")
	o := old.DeepCopy()
	o.Spec.Containers[0].Image = "other"
	o.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "busybox:1"}}}
	k.Default(o)
	sub := k.Subresources["ephemeralcontainers"]
	sub.Prepare(o, old)
	if errs := sub.Validate(o, old); len(errs) > 0 || o.Spec.Containers[0].Image == "other" || o.Generation != 2 {
		t.Errorf("ephemeral container: %v, image %q, generation %d", errs.ToAggregate(), o.Spec.Containers[0].Image, o.Generation)
	}
	less := o.DeepCopy()
	less.Spec.EphemeralContainers = nil
	if errs := sub.Validate(less, o); len(errs) != 1 {
		t.Errorf("an ephemeral container goes: %v", errs.ToAggregate())
	}

	sub = k.Subresources["resize"]
	o = old.DeepCopy()
	o.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("100m")
	o.Spec.Containers[0].Image = "other"
	sub.Prepare(o, old)
	cpu := o.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU]
	if errs := sub.Validate(o, old); len(errs) > 0 || cpu.String() != "100m" || o.Spec.Containers[0].Image == "other" {
		t.Errorf("resize: %v, cpu %s, image %q", errs.ToAggregate(), cpu.String(), o.Spec.Containers[0].Image)
	}
}

func TestServiceKeepsWhatWasAllocated(t *testing.T) {
	t.Parallel()
	k, old := valid[*corev1.Service](t, "service-nodeport")
	o := old.DeepCopy()
	o.Spec.ClusterIP, o.Spec.ClusterIPs, o.Spec.Ports[0].NodePort = "", nil, 0
	k.Prepare(o, old)
	if diff := cmp.Diff(old.Spec, o.Spec); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	o = old.DeepCopy()
	o.Spec.Type = corev1.ServiceTypeClusterIP
	k.Prepare(o, old)
	if o.Spec.Ports[0].NodePort != 0 || o.Spec.ExternalTrafficPolicy != "" || o.Spec.ClusterIP != "10.96.0.7" {
		t.Errorf("as ClusterIP: %+v", o.Spec)
	}
	if errs := check(k, o, old); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
	o = old.DeepCopy()
	o.Spec.Type, o.Spec.ExternalName = corev1.ServiceTypeExternalName, "db.example.com"
	k.Prepare(o, old)
	if errs := check(k, o, old); len(errs) > 0 || o.Spec.ClusterIP != "" {
		t.Errorf("as ExternalName: %v, cluster IP %q", errs.ToAggregate(), o.Spec.ClusterIP)
	}
}

func TestFieldsAndIndexes(t *testing.T) {
	t.Parallel()
	k, p := valid[*corev1.Pod](t, "pod-host-network")
	got := map[string]string{}
	for name, f := range k.Fields {
		got[name] = f(p)
	}
	want := map[string]string{
		"spec.nodeName": "n1", "spec.restartPolicy": "Always", "spec.schedulerName": "default-scheduler", "spec.serviceAccountName": "",
		"spec.hostNetwork": "true", "status.phase": "Pending", "status.podIP": "", "status.nominatedNodeName": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"n1"}, k.Indexes["spec.nodeName"](txn.Object(p))); diff != "" {
		t.Errorf("index (-want +got):\n%s", diff)
	}
}
