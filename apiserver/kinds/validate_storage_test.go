package kinds_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
)

func TestStorageValidation(t *testing.T) {
	type (
		class  = *storagev1.StorageClass
		driver = *storagev1.CSIDriver
	)
	where := func(r ...corev1.TopologySelectorLabelRequirement) func(class) {
		return func(o class) {
			o.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: r}}
		}
	}
	zone := corev1.TopologySelectorLabelRequirement{Key: "zone", Values: []string{"a"}}
	const terms = "allowedTopologies[0].matchLabelExpressions"
	runMutations(t, []mutation{
		on("storageclass", "topology", where(zone), ""),
		on("storageclass", "topology's key", where(corev1.TopologySelectorLabelRequirement{Key: "a b", Values: []string{"a"}}), terms+`[0].key: Invalid value: "a b"`),
		on("storageclass", "topology of no value", where(corev1.TopologySelectorLabelRequirement{Key: "zone"}), terms+"[0].values: Required value"),
		on("storageclass", "value twice", where(corev1.TopologySelectorLabelRequirement{Key: "zone", Values: []string{"a", "a"}}), terms+`[0].values[1]: Duplicate value: "a"`),
		on("storageclass", "key twice", where(zone, zone), terms+`[1].key: Duplicate value: "zone"`),
		on("storageclass", "empty term", where(), terms+`: Duplicate value: ""`),
		on("storageclass", "term twice", func(o class) {
			term := corev1.TopologySelectorTerm{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{zone}}
			o.AllowedTopologies = []corev1.TopologySelectorTerm{term, term}
		}, `allowedTopologies[1].matchLabelExpressions: Duplicate value: ""`),
		on("storageclass", "nameless parameter", func(o class) { o.Parameters = map[string]string{"": "x"} }, `parameters: Invalid value: "": field can not be empty.`),
		updating("storageclass", "parameters", func(o class) { o.Parameters = map[string]string{"a": "b"} }, "parameters: Invalid value: null: field is immutable"),
		updating("storageclass", "binding", func(o class) { *o.VolumeBindingMode = storagev1.VolumeBindingWaitForFirstConsumer }, "volumeBindingMode: Invalid value: null: field is immutable"),

		on("csidriver", "mode", func(o driver) { o.Spec.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{"Odd"} },
			`spec.volumeLifecycleModes: Unsupported value: "Odd": supported values: "Persistent", "Ephemeral"`),
		on("csidriver", "short token", func(o driver) { o.Spec.TokenRequests[0].ExpirationSeconds = ptr.To[int64](599) },
			"spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"),
		on("csidriver", "long token", func(o driver) { o.Spec.TokenRequests[0].ExpirationSeconds = ptr.To[int64](1<<32 + 1) },
			"spec.tokenRequests[0].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds"),
		on("csidriver", "busy", func(o driver) { o.Spec.NodeAllocatableUpdatePeriodSeconds = ptr.To[int64](9) },
			"spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds"),
		updating("csidriver", "attaching", func(o driver) { o.Spec.AttachRequired = ptr.To(false) }, "spec.attachedRequired: Invalid value: false: field is immutable"),
		updating("csidriver", "modes", func(o driver) { o.Spec.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{"Ephemeral"} },
			`spec.volumeLifecycleModes: Invalid value: ["Ephemeral"]: field is immutable`),
	})
}

func TestFlowSchemaValidation(t *testing.T) {
	type flow = *flowcontrolv1.FlowSchema
	rule := func(o flow) *flowcontrolv1.PolicyRulesWithSubjects { return &o.Spec.Rules[0] }
	by := func(s flowcontrolv1.Subject) func(flow) {
		return func(o flow) { rule(o).Subjects = []flowcontrolv1.Subject{s} }
	}
	resources := func(f func(*flowcontrolv1.ResourcePolicyRule)) func(flow) {
		return func(o flow) {
			r := flowcontrolv1.ResourcePolicyRule{Verbs: []string{"get"}, APIGroups: []string{"apps"}, Resources: []string{"*"}, ClusterScope: true}
			f(&r)
			rule(o).ResourceRules = []flowcontrolv1.ResourcePolicyRule{r}
		}
	}
	url := func(u string) func(flow) {
		return func(o flow) {
			rule(o).NonResourceRules = []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{u}}}
		}
	}
	const subject, resource, urls = "spec.rules[0].subjects[0]", "spec.rules[0].resourceRules[0]", "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]"
	runMutations(t, []mutation{
		on("flowschema", "level", func(o flow) { o.Spec.PriorityLevelConfiguration.Name = "" }, "spec.priorityLevelConfiguration.name: Required value: must reference a priority level"),
		on("flowschema", "first", func(o flow) { o.Spec.MatchingPrecedence = 1 }, "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"),
		on("flowschema", "before first", func(o flow) { o.Spec.MatchingPrecedence = -1 }, "spec.matchingPrecedence: Invalid value: -1: must be a positive value"),
		on("flowschema", "after last", func(o flow) { o.Spec.MatchingPrecedence = 10001 }, "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"),
		on("flowschema", "method", func(o flow) { o.Spec.DistinguisherMethod = &flowcontrolv1.FlowDistinguisherMethod{Type: "ByMood"} },
			`spec.distinguisherMethod.type: Unsupported value: {"Type":"ByMood"}: supported values: "ByNamespace", "ByUser"`),
		on("flowschema", "kind of subject", by(flowcontrolv1.Subject{}), subject+`.kind: Unsupported value: "": supported values: "Group", "ServiceAccount", "User"`),
		on("flowschema", "no member", by(flowcontrolv1.Subject{Kind: "User"}), subject+".user: Required value: user is required when subject kind is 'User'"),
		on("flowschema", "another member", by(flowcontrolv1.Subject{Kind: "User", User: &flowcontrolv1.UserSubject{Name: "ann"}, Group: &flowcontrolv1.GroupSubject{Name: "g"}}),
			subject+".group: Forbidden: group is forbidden when subject kind is not 'Group'"),
		on("flowschema", "nameless", by(flowcontrolv1.Subject{Kind: "Group", Group: &flowcontrolv1.GroupSubject{}}), subject+".group.name: Required value"),
		on("flowschema", "homeless account", by(flowcontrolv1.Subject{Kind: "ServiceAccount", ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Name: "*"}}),
			subject+".serviceAccount.namespace: Required value: must specify namespace for service account"),
		on("flowschema", "verb", resources(func(r *flowcontrolv1.ResourcePolicyRule) { r.Verbs = []string{"look"} }), resource+`.verbs: Unsupported value: ["look"]`),
		on("flowschema", "all and more", resources(func(r *flowcontrolv1.ResourcePolicyRule) { r.APIGroups = []string{"*", "apps"} }),
			resource+`.apiGroups: Invalid value: ["*","apps"]: if '*' is present, must not specify other api groups`),
		on("flowschema", "nothing", resources(func(r *flowcontrolv1.ResourcePolicyRule) { r.Resources = nil }), resource+".resources: Required value: resource rules must supply at least one resource"),
		on("flowschema", "namespace", resources(func(r *flowcontrolv1.ResourcePolicyRule) { r.Namespaces = []string{"A"} }),
			resource+`.namespaces[0]: Invalid value: "A": each member of this list must be '*' or a DNS-1123 label; `),
		on("flowschema", "URL", url("healthz"), urls+`: Invalid value: "healthz": must start with slash`),
		on("flowschema", "URL's star", url("/a*"), urls+`: Invalid value: "/a*": wildcard can only do suffix matching`),
		on("flowschema", "URL's slashes", url("/a//b"), urls+`: Invalid value: "/a//b": must not contain double slash`),
	})
}

func TestNodeAndAddressValidation(t *testing.T) {
	type (
		node    = *corev1.Node
		address = *networkingv1.IPAddress
		ends    = *corev1.Endpoints
	)
	runMutations(t, []mutation{
		on("node", "two ranges of a family", func(o node) { o.Spec.PodCIDRs = []string{"10.0.0.0/24", "10.0.1.0/24"} },
			`spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one CIDR for each IP family`),
		on("node", "capacity", func(o node) { o.Status.Capacity = list("cpu", "-1") }, `status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0`),
		on("node", "part of a pod", func(o node) { o.Status.Allocatable = list("pods", "1500m") }, `status.allocatable.pods: Invalid value: "1500m": must be an integer`),
		updating("node", "external ID", func(o node) { o.Spec.DoNotUseExternalID = "x" }, "spec.externalID: Forbidden: may not be updated"),
		on("ipaddress", "name", func(o address) { o.Name = "abc" }, `metadata.name: Invalid value: "abc": must be a valid IP address`),
		on("ipaddress", "parent's path", func(o address) { o.Spec.ParentRef.Name = "a/b" }, `spec.parentRef.name: Invalid value: "a/b": may not contain '/'`),
		updating("ipaddress", "parent", func(o address) { o.Spec.ParentRef.Name = "other" }, "spec.parentRef: Invalid value: null: field is immutable"),
		on("endpoints", "protocol of the application", func(o ends) { o.Subsets[0].Ports[0].AppProtocol = ptr.To("a b") },
			`subsets[0].ports[0].appProtocol: Invalid value: "a b"`),
		on("endpoints", "any address", func(o ends) { o.Subsets[0].Addresses[0].IP = "0.0.0.0" },
			`subsets[0].addresses[0].ip: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)`),
	})
}

func TestNodeRanges(t *testing.T) {
	t.Parallel()
	k, _ := valid[*corev1.Node](t, "node")
	o := &corev1.Node{Spec: corev1.NodeSpec{PodCIDR: "10.0.1.0/24", PodCIDRs: []string{"10.0.0.0/24", "fd00::/64"}}}
	k.Default(o)
	if !slices.Equal(o.Spec.PodCIDRs, []string{"10.0.1.0/24"}) {
		t.Errorf("two names that disagree give %v", o.Spec.PodCIDRs)
	}
}

func TestBudgetStatusValidation(t *testing.T) {
	t.Parallel()
	k, old := valid[*policyv1.PodDisruptionBudget](t, "poddisruptionbudget")
	o := old.DeepCopy()
	o.Status.ExpectedPods = -1
	o.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "Maybe", Reason: "X", LastTransitionTime: metav1.Now()}}
	got := k.Subresources["status"].Validate(o, old).ToAggregate()
	for _, want := range []string{"status.expectedPods: Invalid value: -1", `status.conditions[0].status: Unsupported value: "Maybe"`} {
		if got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("%v lacks %s", got, want)
		}
	}
}

func TestMoreWarnings(t *testing.T) {
	t.Parallel()
	drivers, driver := valid[*storagev1.CSIDriver](t, "csidriver")
	accounts, account := valid[*corev1.ServiceAccount](t, "serviceaccount")
	nodes, node := valid[*corev1.Node](t, "node")
	old := account.DeepCopy()
	account.Annotations = map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}
	node.Spec.DoNotUseExternalID = "x"
	for name, tt := range map[string]struct {
		warn   func(o, old txn.Object) []string
		o, old txn.Object
		want   string
	}{
		"tokens":          {drivers.Warnings, driver, nil, "spec.serviceAccountTokenInSecrets is unset"},
		"the same tokens": {drivers.Warnings, driver, driver, ""},
		"secrets":         {accounts.Warnings, account, old, "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated"},
		"the same":        {accounts.Warnings, account, account, ""},
		"external ID":     {nodes.Warnings, node, nil, "spec.externalID: this field is deprecated"},
	} {
		got := strings.Join(tt.warn(tt.o, tt.old), "\n")
		if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
