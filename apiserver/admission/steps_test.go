package admission_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"iter"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
	"github.com/headway-sh/headway/apiserver/write"
)

// empty is a View without objects; txn.Overlay puts some on top.
type empty struct{}

func (empty) Revision() int64                { return 7 }
func (empty) Get(txn.Ref) (txn.Object, bool) { return nil, false }
func (empty) Each(schema.GroupResource, string) iter.Seq[txn.Object] {
	return func(func(txn.Object) bool) {}
}
func (empty) EachIndexed(schema.GroupResource, string, string) iter.Seq[txn.Object] {
	return func(func(txn.Object) bool) {}
}

func rows(t testing.TB) *kinds.Table {
	t.Helper()
	table, err := kinds.New(append(kinds.All(), admission.RangeKind()))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// view shows objects; each must have its kind set.
func view(t testing.TB, objects ...txn.Object) txn.View {
	t.Helper()
	pending := map[txn.Ref]txn.Object{}
	for _, o := range objects {
		pending[kindOf(t, o).Ref(o.GetNamespace(), o.GetName())] = o
	}
	return txn.Overlay(empty{}, pending, nil)
}

func kindOf(t testing.TB, o txn.Object) *kind.Kind {
	t.Helper()
	scheme, err := kinds.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	gvks, _, err := scheme.ObjectKinds(o)
	if err != nil {
		t.Fatal(err)
	}
	k, ok := rows(t).ByGVK(gvks[0])
	if !ok {
		t.Fatalf("no kind %s", gvks[0])
	}
	return k
}

// request is a write of o over old; either may be nil.
func request(t testing.TB, o, old txn.Object) *write.Request {
	t.Helper()
	r := &write.Request{Object: o, Old: old, Operation: write.OperationUpdate, Identity: txn.Identity{Name: "alice"}, Now: time.Unix(1700000000, 0)}
	some := o
	switch {
	case old == nil:
		r.Operation = write.OperationCreate
	case o == nil:
		r.Operation, some = write.OperationDelete, old
	}
	r.Kind = kindOf(t, some)
	r.Ref = r.Kind.Ref(some.GetNamespace(), some.GetName())
	return r
}

// step runs one step by name.
func step(t testing.TB, name string, v txn.View, r *write.Request) error {
	t.Helper()
	return stepOf(t, admission.Config{}, name, v, r)
}

// stepOf runs one step of a cluster's own configuration.
func stepOf(t testing.TB, config admission.Config, name string, v txn.View, r *write.Request) error {
	t.Helper()
	for _, s := range admission.Steps(config) {
		if s.Name != name {
			continue
		}
		if s.Mutate != nil {
			if err := s.Mutate(t.Context(), v, r); err != nil {
				return err
			}
		}
		if s.Validate != nil {
			return s.Validate(t.Context(), v, r)
		}
		return nil
	}
	t.Fatalf("no step %s", name)
	return nil
}

// says compares an error with the text that is wanted; empty: none.
func says(t testing.TB, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func namespace(name string, phase corev1.NamespacePhase) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NamespaceStatus{Phase: phase}}
}

func pod(change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	for _, f := range change {
		f(p)
	}
	return p
}

func TestNamespaceLifecycle(t *testing.T) {
	t.Parallel()
	active, leaving := namespace("shop", corev1.NamespaceActive), namespace("shop", corev1.NamespaceTerminating)
	tests := map[string]struct {
		view   txn.View
		o, old txn.Object
		want   string
	}{
		"active":             {view(t, active), pod(), nil, ""},
		"absent":             {view(t), pod(), nil, `namespaces "shop" not found`},
		"terminating":        {view(t, leaving), pod(), nil, `pods "web" is forbidden: unable to create new content in namespace shop because it is being terminated`},
		"update terminating": {view(t, leaving), pod(), pod(), ""},
		"cluster-scoped":     {view(t), namespace("x", ""), nil, ""},
		"delete default":     {view(t), nil, namespace("default", ""), `namespaces "default" is forbidden: this namespace may not be deleted`},
		"delete another":     {view(t), nil, namespace("shop", ""), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			says(t, step(t, "NamespaceLifecycle", tt.view, request(t, tt.o, tt.old)), tt.want)
		})
	}
}

func TestServiceAccount(t *testing.T) {
	t.Parallel()
	account := func(automount *bool) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "default"}, AutomountServiceAccountToken: automount,
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}}
	}
	tests := map[string]struct {
		view   txn.View
		pod    *corev1.Pod
		want   string
		mounts bool
	}{
		"default":     {view(t, account(nil)), pod(), "", true},
		"absent":      {view(t), pod(), `pods "web" is forbidden: error looking up service account shop/default: serviceaccount "default" not found`, false},
		"account off": {view(t, account(ptr.To(false))), pod(), "", false},
		"pod off":     {view(t, account(nil)), pod(func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = ptr.To(false) }), "", false},
		"pod on":      {view(t, account(ptr.To(false))), pod(func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = ptr.To(true) }), "", true},
		"own mount": {view(t, account(nil)), pod(func(p *corev1.Pod) {
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "x", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}}
		}), "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := step(t, "ServiceAccount", tt.view, request(t, tt.pod, nil))
			says(t, err, tt.want)
			if err != nil {
				return
			}
			if s := tt.pod.Spec; s.ServiceAccountName != "default" || len(s.ImagePullSecrets) != 1 {
				t.Errorf("account %q, pull secrets %v", s.ServiceAccountName, s.ImagePullSecrets)
			}
			mounted := len(tt.pod.Spec.Volumes) == 1 && tt.pod.Spec.Volumes[0].Projected != nil &&
				tt.pod.Spec.Containers[0].VolumeMounts[0].Name == tt.pod.Spec.Volumes[0].Name
			if mounted != tt.mounts {
				t.Errorf("token mounted %v, want %v", mounted, tt.mounts)
			}
		})
	}
}

func TestPriority(t *testing.T) {
	t.Parallel()
	high := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000}
	usual := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "usual"}, Value: 5, GlobalDefault: true}
	class := func(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.PriorityClassName = name } }
	tests := map[string]struct {
		view txn.View
		pod  *corev1.Pod
		want int32
		text string
	}{
		"none":    {view(t, high), pod(), 0, ""},
		"named":   {view(t, high), pod(class("high")), 1000, ""},
		"default": {view(t, high, usual), pod(), 5, ""},
		"system":  {view(t), pod(class("system-node-critical")), 2000001000, ""},
		"unknown": {view(t), pod(class("gold")), 0, `pods "web" is forbidden: no PriorityClass with name gold was found`},
		"own number": {view(t, high), pod(class("high"), func(p *corev1.Pod) { p.Spec.Priority = ptr.To[int32](7) }), 0,
			`pods "web" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := step(t, "Priority", tt.view, request(t, tt.pod, nil))
			says(t, err, tt.text)
			if err == nil && *tt.pod.Spec.Priority != tt.want {
				t.Errorf("priority %d, want %d", *tt.pod.Spec.Priority, tt.want)
			}
		})
	}
	second := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "second"}, GlobalDefault: true}
	says(t, step(t, "Priority", view(t, usual), request(t, second, nil)),
		`priorityclasses.scheduling.k8s.io "second" is forbidden: PriorityClass usual is already marked as default. Only one default can exist`)
}

func TestDefaultTolerations(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		have []corev1.Toleration
		want int
	}{
		"none":       {nil, 2},
		"one of two": {[]corev1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists}}, 2},
		"everything": {[]corev1.Toleration{{Operator: corev1.TolerationOpExists}}, 1},
		"no execute": {[]corev1.Toleration{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pod(func(p *corev1.Pod) { p.Spec.Tolerations = tt.have })
			if err := step(t, "DefaultTolerationSeconds", view(t), request(t, p, nil)); err != nil || len(p.Spec.Tolerations) != tt.want {
				t.Errorf("%v: %v", err, p.Spec.Tolerations)
			}
		})
	}
}

func TestNewNodesAreTainted(t *testing.T) {
	t.Parallel()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	for range 2 { // a taint that is there is not added again
		if err := step(t, "TaintNodesByCondition", view(t), request(t, node, nil)); err != nil || len(node.Spec.Taints) != 1 {
			t.Errorf("%v: %v", err, node.Spec.Taints)
		}
	}
}

func TestNodeRestriction(t *testing.T) {
	t.Parallel()
	on := func(node string) *corev1.Pod { return pod(func(p *corev1.Pod) { p.Spec.NodeName = node }) }
	node := func(name string, change ...func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for _, f := range change {
			f(n)
		}
		return n
	}
	label := func(key string) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Labels = map[string]string{key: "x"} }
	}
	mirror := func(change func(*corev1.Pod)) *corev1.Pod {
		p := on("n1")
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "h"}
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1"}}
		p.Spec.ServiceAccountName = ""
		if change != nil {
			change(p)
		}
		return p
	}
	secretEnv := []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}}}
	tests := map[string]struct {
		o, old      txn.Object
		subresource string
		want        string
	}{
		"own pod's status":     {on("n1"), on("n1"), "status", ""},
		"another pod's status": {on("n2"), on("n2"), "status", `pods "web" is forbidden: node "n1" can only update pod status for pods with spec.nodeName set to itself`},
		"own pod's deletion":   {nil, on("n1"), "", ""},
		"another's deletion":   {nil, on("n2"), "", `pods "web" is forbidden: node "n1" can only delete pods with spec.nodeName set to itself`},
		"own pod itself":       {on("n1"), on("n1"), "", `pods "web" is forbidden: node "n1" may not write pods beyond their status`},
		"a plain pod":          {on("n1"), nil, "", `pods "web" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods`},
		"own mirror":           {mirror(nil), nil, "", ""},
		"a mirror elsewhere":   {mirror(func(p *corev1.Pod) { p.Spec.NodeName = "n2" }), nil, "", `pods "web" is forbidden: node "n1" can only create pods with spec.nodeName set to itself`},
		"mirror with a secret": {mirror(func(p *corev1.Pod) { p.Spec.Containers[0].EnvFrom = secretEnv }), nil, "", `pods "web" is forbidden: node "n1" can not create pods that reference secret "s"`},
		"mirror with a pull secret": {mirror(func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "s"}} }), nil, "",
			`pods "web" is forbidden: node "n1" can not create pods that reference secret "s"`},
		"mirror with an account": {mirror(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "robot" }), nil, "",
			`pods "web" is forbidden: node "n1" can not create pods that reference service account "robot"`},
		"own node":     {node("n1"), node("n1"), "status", ""},
		"another node": {node("n2"), node("n2"), "status", `nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"`},
		"own taints": {node("n1", func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "k"}} }), node("n1"), "",
			`nodes "n1" is forbidden: node "n1" is not allowed to modify taints`},
		"own zone":        {node("n1", label("topology.kubernetes.io/zone")), nil, "", ""},
		"free label":      {node("n1", label("example.com/disk")), nil, "", ""},
		"role label":      {node("n1", label("node-role.kubernetes.io/control-plane")), nil, "", `nodes "n1" is forbidden: is not allowed to modify labels: node-role.kubernetes.io/control-plane`},
		"protected label": {node("n1", label("node-restriction.kubernetes.io/pci")), node("n1"), "", `nodes "n1" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/pci`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request(t, tt.o, tt.old)
			r.Subresource, r.Identity = tt.subresource, txn.Identity{Name: "system:node:n1", Groups: []string{"system:nodes"}}
			says(t, step(t, "NodeRestriction", view(t), r), tt.want)
			r.Identity = txn.Identity{Name: "alice"}
			says(t, step(t, "NodeRestriction", view(t), r), "")
		})
	}
}

func TestCertificateRequester(t *testing.T) {
	t.Parallel()
	asks := func(organization string) []byte {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane", Organization: []string{organization}}}, key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	for organization, refused := range map[string]bool{"devs": false, "system:masters": true} {
		c := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "jane"}, Spec: certificatesv1.CertificateSigningRequestSpec{
			Username: "mallory", Groups: []string{"system:nodes"}, Extra: map[string]certificatesv1.ExtraValue{"a": {"b"}},
			SignerName: certificatesv1.KubeAPIServerClientSignerName, Request: asks(organization)}}
		r := request(t, c, nil)
		r.Identity.Groups = []string{"devs"}
		err := step(t, "CertificateRequester", view(t), r)
		if refused != apierrors.IsForbidden(err) || !refused && err != nil {
			t.Errorf("%s: error %v", organization, err)
		}
		if s := c.Spec; s.Username != "alice" || len(s.Groups) != 1 || s.Groups[0] != "devs" || s.Extra != nil {
			t.Errorf("requester is %s %v %v", s.Username, s.Groups, s.Extra)
		}
	}
}
