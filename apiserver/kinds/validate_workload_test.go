package kinds_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
)

func TestJobPolicyValidation(t *testing.T) {
	rules := func(all ...batchv1.PodFailurePolicyRule) func(*batchv1.Job) {
		return func(o *batchv1.Job) {
			o.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
			o.Spec.PodReplacementPolicy = ptr.To(batchv1.Failed)
			o.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: all}
		}
	}
	codes := func(r batchv1.PodFailurePolicyOnExitCodesRequirement) func(*batchv1.Job) {
		return rules(batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionIgnore, OnExitCodes: &r})
	}
	in := batchv1.PodFailurePolicyOnExitCodesOpIn
	const rule = "spec.podFailurePolicy.rules[0]"
	runMutations(t, []mutation{
		on("job", "no action", rules(batchv1.PodFailurePolicyRule{OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: "x", Status: "True"}}}),
			rule+`.action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]`),
		on("job", "no condition", rules(batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionIgnore}),
			rule+": Invalid value: specifying one of OnExitCodes and OnPodConditions is required"),
		on("job", "fail index", rules(batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionFailIndex,
			OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: "x", Status: "True"}}}),
			rule+`.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set`),
		on("job", "no codes", codes(batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: in}),
			rule+".onExitCodes.values: Invalid value: null: at least one value is required"),
		on("job", "success", codes(batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: in, Values: []int32{0}}),
			rule+".onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator"),
		on("job", "order", codes(batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: in, Values: []int32{2, 1}}),
			rule+".onExitCodes.values: Invalid value: [2,1]: must be ordered"),
		on("job", "no such container", codes(batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: in, Values: []int32{1}, ContainerName: ptr.To("x")}),
			rule+`.onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template`),
		on("job", "success policy", func(o *batchv1.Job) { o.Spec.SuccessPolicy = &batchv1.SuccessPolicy{} },
			`spec.successPolicy: Invalid value: {"rules":null}: requires indexed completion mode`),
		on("job", "manager", func(o *batchv1.Job) { o.Spec.ManagedBy = ptr.To("me") },
			`spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")`),
		updating("job", "other manager", func(o *batchv1.Job) { o.Spec.ManagedBy = ptr.To("example.com/me") },
			`spec.managedBy: Invalid value: "example.com/me": field is immutable`),
	})
}

func TestClaimSourceValidation(t *testing.T) {
	type claim = *corev1.PersistentVolumeClaim
	runMutations(t, []mutation{
		on("persistentvolumeclaim", "source of the core", func(o claim) {
			o.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "Pod", Name: "x"}
		}, `spec.dataSource: Invalid value: "Pod": must be 'PersistentVolumeClaim' when referencing the default apiGroup`),
		on("persistentvolumeclaim", "two sources", func(o claim) {
			o.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "x"}
			o.Spec.DataSourceRef = &corev1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "y"}
		}, `spec: Invalid value: {}: must match dataSourceRef`),
		on("persistentvolumeclaim", "access mode", func(o claim) { o.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{"No"} },
			`spec.accessModes: Unsupported value: "No": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"`),
	})
	t.Run("names of one source", func(t *testing.T) {
		t.Parallel()
		k, o := valid[claim](t, "persistentvolumeclaim")
		o.Spec.DataSource, o.Spec.DataSourceRef = nil, &corev1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "x"}
		k.Prepare(o, nil)
		if r := o.Spec.DataSource; r == nil || r.Name != "x" || r.Kind != "PersistentVolumeClaim" {
			t.Errorf("dataSource is %+v", r)
		}
	})
}

func TestDaemonSetCountsTemplates(t *testing.T) {
	t.Parallel()
	k, old := valid[*appsv1.DaemonSet](t, "daemonset")
	count := func(o *appsv1.DaemonSet) string { return o.Annotations[appsv1.DeprecatedTemplateGeneration] }
	if count(old) != "1" {
		t.Errorf("a new one counts %q", count(old))
	}
	o := old.DeepCopy()
	o.Annotations = map[string]string{"mine": "kept"}
	k.Prepare(txn.Object(o), txn.Object(old))
	if count(o) != "1" || o.Annotations["mine"] != "kept" {
		t.Errorf("without a change of the template: %v", o.Annotations)
	}
	o.Spec.Template.Labels = map[string]string{"more": "labels"}
	k.Prepare(txn.Object(o), txn.Object(old))
	if count(o) != "2" {
		t.Errorf("a changed template counts %q", count(o))
	}
}

func TestServiceWarnings(t *testing.T) {
	t.Parallel()
	k, golden := valid[*corev1.Service](t, "service")
	for _, tt := range []struct {
		name   string
		mutate func(s *corev1.ServiceSpec)
		want   string
	}{
		{"external addresses", func(s *corev1.ServiceSpec) { s.ExternalIPs = []string{"10.0.0.1"} },
			"spec.externalIPs is deprecated and may no longer be implemented in some clusters"},
		{"name of another type", func(s *corev1.ServiceSpec) { s.ExternalName = "x" }, `spec.externalName is ignored when spec.type is not "ExternalName"`},
		{"headless", func(s *corev1.ServiceSpec) {
			s.ClusterIP, s.ClusterIPs, s.LoadBalancerIP = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}, "10.0.0.1"
		}, "spec.loadBalancerIP is ignored for headless services"},
	} {
		o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: *golden.Spec.DeepCopy()}
		o.Spec.SessionAffinity = corev1.ServiceAffinityNone
		tt.mutate(&o.Spec)
		if got := k.Warnings(o, nil); len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestBackendAndMetricValidation(t *testing.T) {
	type ingress = *networkingv1.Ingress
	type hpa = *autoscalingv2.HorizontalPodAutoscaler
	backend := func(b networkingv1.IngressBackend) func(ingress) {
		return func(o ingress) { o.Spec.DefaultBackend = &b }
	}
	metric := func(m autoscalingv2.MetricSpec) func(hpa) {
		return func(o hpa) { o.Spec.Metrics = []autoscalingv2.MetricSpec{m} }
	}
	cpu := func(name string) *autoscalingv2.ResourceMetricSource {
		return &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceName(name), Target: autoscalingv2.MetricTarget{
			Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](50)}}
	}
	runMutations(t, []mutation{
		on("ingress", "no backend", backend(networkingv1.IngressBackend{}), `spec.defaultBackend: Invalid value: "": resource or service backend is required`),
		on("ingress", "no port", backend(networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web"}}),
			"spec.defaultBackend: Required value: port name or number is required"),
		on("ingress", "resource of no kind", backend(networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{Name: "x"}}),
			"spec.defaultBackend.resource.kind: Required value"),
		on("horizontalpodautoscaler", "no resource", metric(autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: cpu("")}),
			"spec.metrics[0].resource.name: Required value: must specify a resource name"),
		on("horizontalpodautoscaler", "no type", metric(autoscalingv2.MetricSpec{Resource: cpu("cpu")}),
			"spec.metrics[0].type: Required value: must specify a metric source type\nspec.metrics[0].type: Unsupported value: \"\""),
		on("horizontalpodautoscaler", "no target type", metric(autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{
			Metric: autoscalingv2.MetricIdentifier{Name: "requests"}, Target: autoscalingv2.MetricTarget{AverageValue: ptr.To(resource.MustParse("1"))}}}),
			"spec.metrics[0].pods.target.type: Required value: must specify a metric target type\nspec.metrics[0].pods.target.type: Invalid value: \"\": must be either"),
		updating("rolebinding", "other role", func(o *rbacv1.RoleBinding) { o.RoleRef.Name = "other" }, "roleRef: Invalid value: "),
	})
}

func TestPersistentSourceValidation(t *testing.T) {
	type volume = *corev1.PersistentVolume
	of := func(s corev1.PersistentVolumeSource) func(volume) {
		return func(o volume) { o.Spec.PersistentVolumeSource, o.Spec.NodeAffinity = s, nil }
	}
	host := &corev1.HostPathVolumeSource{Path: "/srv"}
	runMutations(t, []mutation{
		on("persistentvolume", "second source", of(corev1.PersistentVolumeSource{HostPath: host, GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{}}),
			"spec.gcePersistentDisk: Forbidden: may not specify more than 1 volume type"),
		on("persistentvolume", "second source's old name", of(corev1.PersistentVolumeSource{HostPath: host, CephFS: &corev1.CephFSPersistentVolumeSource{}}),
			"spec.cephFS: Forbidden: may not specify more than 1 volume type"),
		on("persistentvolume", "local anywhere", of(corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/srv"}}),
			"spec.nodeAffinity: Required value: Local volume requires node affinity"),
		on("persistentvolume", "affinity to nothing", func(o volume) { o.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{} },
			"spec.nodeAffinity.required: Required value: must specify required node constraints"),
		updating("volumeattachment", "both sources", func(o *storagev1.VolumeAttachment) { o.Spec.Source.InlineVolumeSpec = &corev1.PersistentVolumeSpec{} },
			"spec: Invalid value: null: field is immutable\nspec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
	})
}

func TestAddressAndAmountValidation(t *testing.T) {
	bad := ptr.To("a b")
	runMutations(t, []mutation{
		on("endpoints", "node", func(o *corev1.Endpoints) { o.Subsets[0].Addresses[0].NodeName = bad },
			`subsets[0].addresses[0].nodeName: Invalid value: "a b": a lowercase RFC 1123 subdomain`),
		on("endpoints", "host name", func(o *corev1.Endpoints) { o.Subsets[0].Addresses[0].Hostname = *bad },
			`subsets[0].addresses[0].hostname: Invalid value: "a b": a lowercase RFC 1123 label`),
		on("endpointslice", "protocol", func(o *discoveryv1.EndpointSlice) { o.Ports[0].AppProtocol = bad },
			`ports[0].appProtocol: Invalid value: "a b": name part must consist of`),
		on("endpointslice", "zone", func(o *discoveryv1.EndpointSlice) {
			o.Endpoints[0].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: *bad}}}
		}, `endpoints[0].hints.forZones[0].name: Invalid value: "a b": a valid label must be`),
		on("deployment", "amount", func(o *appsv1.Deployment) { o.Spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromString("some")) },
			`spec.strategy.rollingUpdate.maxSurge: Invalid value: "some": a valid percent string must be a numeric string followed by an ending '%'`),
		on("daemonset", "amount", func(o *appsv1.DaemonSet) {
			o.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromString("some"))
		},
			"spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"some\": a valid percent string must be a numeric string followed by an ending '%'\n"+
				"spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"),
		updating("storageclass", "provisioner", func(o *storagev1.StorageClass) { o.Provisioner = "other.example.com" },
			"provisioner: Invalid value: null: field is immutable"),
	})
}
