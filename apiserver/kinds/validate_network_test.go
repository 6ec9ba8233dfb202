package kinds_test

import (
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
)

func TestIngressValidation(t *testing.T) {
	type (
		ingress = *networkingv1.Ingress
		class   = *networkingv1.IngressClass
	)
	at := func(o ingress) *networkingv1.HTTPIngressPath { return &o.Spec.Rules[0].HTTP.Paths[0] }
	other := func(group *string, kind, name string) func(ingress) {
		return func(o ingress) {
			o.Spec.DefaultBackend = &networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{APIGroup: group, Kind: kind, Name: name}}
		}
	}
	parameters := func(r networkingv1.IngressClassParametersReference) func(class) {
		return func(o class) { o.Spec.Parameters = &r }
	}
	runMutations(t, []mutation{
		on("ingress", "secret", func(o ingress) { o.Spec.TLS = []networkingv1.IngressTLS{{SecretName: "A"}} }, `spec.tls[0].secretName: Invalid value: "A": a lowercase RFC 1123 subdomain`),
		on("ingress", "host of a certificate", func(o ingress) { o.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{""}}} }, `spec.tls[0].hosts[0]: Invalid value: "": a lowercase RFC 1123 subdomain`),
		on("ingress", "empty class", func(o ingress) { o.Spec.IngressClassName = ptr.To("") }, `spec.ingressClassName: Invalid value: "": a lowercase RFC 1123 subdomain`),
		on("ingress", "type of a path", func(o ingress) { at(o).PathType = ptr.To(networkingv1.PathType("")) }, `spec.rules[0].http.paths[0].pathType: Unsupported value: "": supported values: "Exact", "ImplementationSpecific", "Prefix"`),
		on("ingress", "upwards at the end", func(o ingress) { at(o).Path = "/a/.." }, `spec.rules[0].http.paths[0].path: Invalid value: "/a/..": cannot end with '/..'`),
		on("ingress", "other backend", other(ptr.To("k8s.example.com"), "Bucket", "b"), ""),
		on("ingress", "group of another backend", other(ptr.To(""), "Bucket", "b"), `spec.defaultBackend.resource.apiGroup: Invalid value: ""`),
		on("ingress", "kind of another backend", other(nil, "a/b", "b"), `spec.defaultBackend.resource.kind: Invalid value: "a/b": may not contain '/'`),

		on("ingressclass", "group of parameters", parameters(networkingv1.IngressClassParametersReference{APIGroup: ptr.To("A"), Kind: "P", Name: "p", Scope: ptr.To("Cluster")}),
			`spec.parameters.apiGroup: Invalid value: "A"`),
		on("ingressclass", "namespace of parameters", parameters(networkingv1.IngressClassParametersReference{Kind: "P", Name: "p", Scope: ptr.To("Namespace"), Namespace: ptr.To("")}),
			`spec.parameters.namespace: Invalid value: ""`),
	})
}

func TestPolicyValidation(t *testing.T) {
	type policy = *networkingv1.NetworkPolicy
	from := func(peer networkingv1.NetworkPolicyPeer) func(policy) {
		return func(o policy) {
			o.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{peer}}}
		}
	}
	ports := func(port networkingv1.NetworkPolicyPort) func(policy) {
		return func(o policy) {
			o.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{port}}}
		}
	}
	runMutations(t, []mutation{
		on("networkpolicy", "no range", from(networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{}}), "spec.ingress[0].from[0].ipBlock.cidr: Required value"),
		on("networkpolicy", "two peers in one", from(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}, IPBlock: &networkingv1.IPBlock{CIDR: "x"}}),
			"spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer\nspec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"x\""),
		on("networkpolicy", "protocol", ports(networkingv1.NetworkPolicyPort{Protocol: ptr.To(corev1.Protocol(""))}), `spec.ingress[0].ports[0].protocol: Unsupported value: "": supported values: "TCP", "UDP", "SCTP"`),
		on("networkpolicy", "end without begin", ports(networkingv1.NetworkPolicyPort{EndPort: ptr.To[int32](80)}), "spec.ingress[0].ports[0].endPort: Invalid value: 80: may not be specified when `port` is not specified"),
	})
}

func TestSliceAndRangeValidation(t *testing.T) {
	type (
		slice = *discoveryv1.EndpointSlice
		cidrs = *networkingv1.ServiceCIDR
	)
	runMutations(t, []mutation{
		on("endpointslice", "hint twice", func(o slice) {
			o.Endpoints[0].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}, {Name: "a"}}}
		}, `endpoints[0].hints.forZones[1].name: Duplicate value: "a"`),
		on("endpointslice", "other family", func(o slice) { o.Endpoints[0].Addresses = []string{"fd00::1"} }, `endpoints[0].addresses: Invalid value: "fd00::1": must be an IPv4 address`),
		on("endpointslice", "empty node", func(o slice) { o.Endpoints[0].NodeName = ptr.To("") }, `endpoints[0].nodeName: Invalid value: ""`),
		updating("servicecidr", "other range", func(o cidrs) { o.Spec.CIDRs[0] = "10.9.0.0/16" }, `spec.cidrs[0]: Invalid value: "10.9.0.0/16": field is immutable`),
		updating("servicecidr", "no range", func(o cidrs) { o.Spec.CIDRs = nil }, `spec.cidrs: Invalid value: null: field is immutable`),
	})
}

func TestMoreOfOtherKinds(t *testing.T) {
	type (
		level   = *flowcontrolv1.PriorityLevelConfiguration
		node    = *corev1.Node
		csiNode = *storagev1.CSINode
		runtime = *nodev1.RuntimeClass
	)
	queuing := func(o level) *flowcontrolv1.QueuingConfiguration { return o.Spec.Limited.LimitResponse.Queuing }
	runMutations(t, []mutation{
		on("prioritylevelconfiguration", "exempt", func(o level) { o.Spec.Type, o.Spec.Limited = "Exempt", nil }, `spec.type: Invalid value: "Exempt": must be 'Exempt' if and only if `+"`name` is 'exempt'"),
		on("prioritylevelconfiguration", "queues without end", func(o level) { queuing(o).Queues = 1 << 30 },
			"spec.limited.limitResponse.queuing.queues: Invalid value: 1073741824: must not be greater than 10000000\nspec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits"),
		on("prioritylevelconfiguration", "both", func(o level) { o.Spec.Exempt = &flowcontrolv1.ExemptPriorityLevelConfiguration{} }, "spec.exempt: Forbidden"),

		on("node", "features", func(o node) { o.Status.DeclaredFeatures = []string{"B", "A", "A", "c"} }, `status.declaredFeatures[1]: Invalid value: "A": list must be sorted alphabetically
status.declaredFeatures[2]: Duplicate value: "A"
status.declaredFeatures[3]: Invalid value: "c": invalid feature name "c"`),

		on("csinode", "keys", func(o csiNode) { o.Spec.Drivers[0].TopologyKeys = []string{"a b"} }, `spec.drivers[0]: Invalid value: "a b": name part must consist of`),
		on("csinode", "name of the driver", func(o csiNode) { o.Spec.Drivers[0].Name = strings.Repeat("a", 64) }, "spec.drivers[0].name: Too long: may not be more than 63 bytes"),
		updating("csinode", "driver", func(o csiNode) { o.Spec.Drivers[0].NodeID = "x" }, "spec.drivers: Invalid value"),

		on("runtimeclass", "overhead", func(o runtime) { o.Overhead = &nodev1.Overhead{PodFixed: list("pods", "1")} }, `overhead.limits[pods]: Invalid value: "pods": must be a standard resource for containers`),
		on("runtimeclass", "toleration twice", func(o runtime) {
			o.Scheduling = &nodev1.Scheduling{Tolerations: []corev1.Toleration{{Key: "a", Operator: "Exists"}, {Key: "a", Operator: "Exists"}}}
		}, "scheduling.tolerations[1]: Duplicate value"),
		on("runtimeclass", "finalizer", func(o runtime) { o.Finalizers = []string{"mine"} }, ""),

		on("clusterrole", "selector", func(o *rbacv1.ClusterRole) {
			o.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "!"}}}}
		}, "aggregationRule.clusterRoleSelectors[0].matchLabels: Invalid value: \"!\"\naggregationRule.clusterRoleSelectors[0]: Invalid value: null: invalid label selector."),
		on("storageclass", "empty policy", func(o *storagev1.StorageClass) { o.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimPolicy("")) }, ""),
		on("volumeattributesclass", "driver", func(o *storagev1.VolumeAttributesClass) { o.DriverName = "a b" }, `driverName: Invalid value: "a b": name part must consist of`),
	})
}

// What the API has, and the cluster does not use, is dropped on the way in and
// kept where it is there already.
func TestUnusedFieldsAreDropped(t *testing.T) {
	t.Parallel()
	table := newTable(t)
	for _, test := range []struct {
		golden string
		set    func(o txn.Object)
		is     func(o txn.Object) bool
	}{
		{"lease", func(o txn.Object) { o.(*coordinationv1.Lease).Spec.PreferredHolder = ptr.To("a") }, func(o txn.Object) bool { return o.(*coordinationv1.Lease).Spec.PreferredHolder != nil }},
		{"lease", func(o txn.Object) {
			o.(*coordinationv1.Lease).Spec.Strategy = ptr.To(coordinationv1.OldestEmulationVersion)
		}, func(o txn.Object) bool { return o.(*coordinationv1.Lease).Spec.Strategy != nil }},
		{"node", func(o txn.Object) { o.(*corev1.Node).Spec.PodPreemptionPolicy = &corev1.NodePodPreemptionPolicy{} },
			func(o txn.Object) bool { return o.(*corev1.Node).Spec.PodPreemptionPolicy != nil }},
		{"csinode", func(o txn.Object) { o.(*storagev1.CSINode).Status.StorageHealth = make([]storagev1.StorageHealth, 1) },
			func(o txn.Object) bool { return len(o.(*storagev1.CSINode).Status.StorageHealth) > 0 }},
	} {
		t.Run(test.golden, func(t *testing.T) {
			t.Parallel()
			k, old := createdFrom(t, table, "testdata/kinds/"+test.golden+".txtar")
			o := old.DeepCopyObject().(txn.Object)
			test.set(o)
			if k.Prepare(o, old); test.is(o) {
				t.Error("an update sets it")
			}
			test.set(o)
			if k.Prepare(o, nil); test.is(o) {
				t.Error("a new object has it")
			}
			test.set(old)
			test.set(o)
			if k.Prepare(o, old); !test.is(o) {
				t.Error("an object that has it loses it")
			}
		})
	}
}
