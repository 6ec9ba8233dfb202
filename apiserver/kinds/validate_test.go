package kinds_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
)

// mutation is one change of a valid object and the errors that it makes: a line
// each with the beginning of its text, or "" when the change is fine.
type mutation struct {
	golden string
	name   string
	update bool
	mutate func(o txn.Object)
	want   string
}

func on[T txn.Object](golden, name string, mutate func(T), want string) mutation {
	return mutation{golden: golden, name: name, mutate: func(o txn.Object) { mutate(o.(T)) }, want: want}
}

func updating[T txn.Object](golden, name string, mutate func(T), want string) mutation {
	m := on(golden, name, mutate, want)
	m.update = true
	return m
}

func runMutations(t *testing.T, all []mutation) {
	t.Helper()
	t.Parallel()
	table := newTable(t)
	for _, m := range all {
		t.Run(m.golden+"/"+m.name, func(t *testing.T) {
			t.Parallel()
			k, old := createdFrom(t, table, "testdata/kinds/"+m.golden+".txtar")
			old.SetResourceVersion("7")
			o := old.DeepCopyObject().(txn.Object)
			m.mutate(o)
			if !m.update {
				old = nil
			}
			errs := append(k.ValidateMeta(o, old), check(k, o, old)...)
			switch {
			case m.want == "" && len(errs) > 0:
				t.Errorf("refused: %v", errs.ToAggregate())
			case m.want != "" && !tells(errs, strings.Split(m.want, "\n")):
				t.Errorf("errors:\n%v\nwant:\n%s", errs.ToAggregate(), m.want)
			}
		})
	}
}

// tells whether errs are exactly the ones that begin like want, in order.
func tells(errs field.ErrorList, want []string) bool {
	return slices.EqualFunc(errs, want, func(err *field.Error, begin string) bool { return strings.HasPrefix(err.Error(), begin) })
}

func container(p *corev1.Pod) *corev1.Container { return &p.Spec.Containers[0] }

func TestPodValidation(t *testing.T) {
	type pod = *corev1.Pod
	runMutations(t, []mutation{
		on("pod", "name", func(p pod) { p.Name = "Web" }, `metadata.name: Invalid value: "Web": a lowercase RFC 1123 subdomain must consist of`),
		on("pod", "no containers", func(p pod) { p.Spec.Containers = nil }, "spec.containers: Required value"),
		on("pod", "container name", func(p pod) { container(p).Name = "a.b" }, `spec.containers[0].name: Invalid value: "a.b": must not contain dots`),
		on("pod", "container twice", func(p pod) { p.Spec.Containers[1].Name = "web" }, `spec.containers[1].name: Duplicate value: "web"`),
		on("pod", "image", func(p pod) { container(p).Image = "" }, "spec.containers[0].image: Required value"),
		on("pod", "image spaces", func(p pod) { container(p).Image = " web" }, `spec.containers[0].image: Invalid value: " web": must not have leading or trailing whitespace`),
		on("pod", "pull policy", func(p pod) { container(p).ImagePullPolicy = "Maybe" },
			`spec.containers[0].imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never"`),
		on("pod", "restart policy", func(p pod) { p.Spec.RestartPolicy = "Often" },
			`spec.restartPolicy: Unsupported value: "Often": supported values: "Always", "OnFailure", "Never"`),
		on("pod", "port", func(p pod) { container(p).Ports[0].ContainerPort = 70000 },
			"spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
		on("pod", "no port", func(p pod) { container(p).Ports[0].ContainerPort = 0 }, "spec.containers[0].ports[0].containerPort: Required value"),
		on("pod", "protocol", func(p pod) { container(p).Ports[0].Protocol = "ICMP" },
			`spec.containers[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`),
		on("pod-host-network", "host port", func(p pod) { container(p).Ports[0].HostPort = 1 },
			"spec.containers[0].ports[0].hostPort: Invalid value: 1: must match `containerPort` when `hostNetwork` is true"),
		on("pod", "mount", func(p pod) { container(p).VolumeMounts[0].Name = "nope" }, `spec.containers[0].volumeMounts[0].name: Not found: "nope"`),
		on("pod", "mount twice", func(p pod) { container(p).VolumeMounts[1].MountPath = "/etc/web" },
			`spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/etc/web": must be unique`),
		on("pod", "sub path", func(p pod) { container(p).VolumeMounts[0].SubPath = "../x" },
			`spec.containers[0].volumeMounts.subPath: Invalid value: "../x": must not contain '..'`),
		on("pod", "env name", func(p pod) { container(p).Env[0].Name = "" }, "spec.containers[0].env[0].name: Required value"),
		on("pod", "env relaxed", func(p pod) { container(p).Env[0].Name = "a.b-c d" }, ""),
		on("pod", "env equals", func(p pod) { container(p).Env[0].Name = "a=b" }, `spec.containers[0].env[0].name: Invalid value: "a=b"`),
		on("pod", "env field", func(p pod) { container(p).Env[0].ValueFrom.FieldRef.FieldPath = "spec.x" },
			`spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.x": error converting fieldPath: field label not supported: spec.x`),
		on("pod", "env label", func(p pod) { container(p).Env[0].ValueFrom.FieldRef.FieldPath = "metadata.labels['app']" }, ""),
		on("pod", "env both", func(p pod) { container(p).Env[0].Value = "x" },
			`spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `+"`value` is not empty"),
		on("pod", "probe handler", func(p pod) { container(p).LivenessProbe.HTTPGet = nil },
			"spec.containers[0].livenessProbe: Required value: must specify a handler type"),
		on("pod", "probe two handlers", func(p pod) { container(p).LivenessProbe.Exec = &corev1.ExecAction{Command: []string{"x"}} },
			"spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type"),
		on("pod", "liveness success", func(p pod) { container(p).LivenessProbe.SuccessThreshold = 2 },
			"spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"),
		on("pod", "probe period", func(p pod) { container(p).ReadinessProbe.PeriodSeconds = -1 },
			"spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"),
		on("pod", "init probe", func(p pod) { p.Spec.InitContainers[0].LivenessProbe = container(p).LivenessProbe.DeepCopy() },
			"spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"),
		on("pod", "requests", func(p pod) { container(p).Resources.Requests[corev1.ResourceCPU] = resource.MustParse("1") },
			`spec.containers[0].resources.requests: Invalid value: "1": must be less than or equal to cpu limit of 500m`),
		on("pod", "negative", func(p pod) {
			p.Spec.Containers[1].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("-1")}
		},
			`spec.containers[1].resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0`),
		on("pod", "volume twice", func(p pod) { p.Spec.Volumes[1].Name = "config" }, ""+
			`spec.volumes[1].name: Duplicate value: "config"`).tolerate("scratch"),
		on("pod", "two sources", func(p pod) { p.Spec.Volumes[0].EmptyDir = &corev1.EmptyDirVolumeSource{} },
			"spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type\nspec.containers[0].volumeMounts[0].name: Not found: \"config\""),
		on("pod", "mode", func(p pod) { p.Spec.Volumes[0].ConfigMap.DefaultMode = ptr.To[int32](01000) },
			"spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive\nspec.containers[0].volumeMounts[0].name: Not found: \"config\""),
		on("pod", "token", func(p pod) {
			p.Spec.Volumes[3].Projected.Sources[0].ServiceAccountToken.ExpirationSeconds = ptr.To[int64](10)
		},
			"spec.volumes[3].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes\nspec.containers[0].volumeMounts[2].name: Not found: \"token\""),
		on("pod", "toleration", func(p pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpEqual}} },
			`spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when`),
		on("pod", "spread", func(p pod) {
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule}}
		}, "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"),
		on("pod", "affinity", func(p pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "a b"}},
			}}
		}, "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: \"a b\": name part must consist of"),
		on("pod", "dns none", func(p pod) { p.Spec.DNSPolicy = corev1.DNSNone },
			"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
		on("pod", "ephemeral", func(p pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: "debug", Image: "x", ImagePullPolicy: corev1.PullAlways, TerminationMessagePolicy: corev1.TerminationMessageReadFile,
			}}}
		}, "spec.ephemeralContainers: Forbidden: cannot be set on create"),

		updating("pod", "nothing", func(pod) {}, ""),
		updating("pod", "labels", func(p pod) { p.Labels = map[string]string{"a": "b"} }, ""),
		updating("pod", "change image", func(p pod) { container(p).Image = "web:2" }, ""),
		updating("pod", "drop image", func(p pod) { container(p).Image = "" }, "spec.containers[0].image: Required value"),
		updating("pod", "add toleration", func(p pod) { p.Spec.Tolerations = []corev1.Toleration{{Key: "a", Operator: corev1.TolerationOpExists}} }, ""),
		updating("pod", "deadline", func(p pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](5) }, ""),
		updating("pod", "node", func(p pod) { p.Spec.NodeName = "n1" }, "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"),
		updating("pod", "command", func(p pod) { container(p).Command = []string{"x"} }, "spec: Forbidden: pod updates may not change fields other than"),
		updating("pod", "one container less", func(p pod) { p.Spec.Containers = p.Spec.Containers[:1] },
			"spec.containers: Forbidden: pod updates may not add or remove containers"),
		updating("pod", "uid", func(p pod) { p.UID = "other" }, `metadata.uid: Invalid value: "other": field is immutable`),
	})
}

// tolerate drops the mounts of a volume whose name a mutation takes away.
func (m mutation) tolerate(volume string) mutation {
	inner := m.mutate
	m.mutate = func(o txn.Object) {
		inner(o)
		c := container(o.(*corev1.Pod))
		kept := c.VolumeMounts[:0]
		for _, v := range c.VolumeMounts {
			if v.Name != volume {
				kept = append(kept, v)
			}
		}
		c.VolumeMounts = kept
	}
	return m
}

func TestWorkloadValidation(t *testing.T) {
	type deployment = *appsv1.Deployment
	runMutations(t, []mutation{
		on("deployment", "replicas", func(d deployment) { d.Spec.Replicas = ptr.To[int32](-1) },
			"spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
		on("deployment", "no selector", func(d deployment) { d.Spec.Selector = nil }, "spec.selector: Required value\nspec.template.metadata.labels: Invalid value"),
		on("deployment", "empty selector", func(d deployment) { d.Spec.Selector.MatchLabels = nil },
			`spec.selector: Invalid value: {}: empty selector is invalid for deployment`),
		on("deployment", "template labels", func(d deployment) { d.Spec.Template.Labels = map[string]string{"app": "db"} },
			"spec.template.metadata.labels: Invalid value: {\"app\":\"db\"}: `selector` does not match template `labels`"),
		on("deployment", "restart policy", func(d deployment) { d.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever },
			`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`),
		on("deployment", "both zero", func(d deployment) {
			d.Spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(0))
			d.Spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromString("0%"))
		}, `spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `+"`maxSurge` is 0"),
		on("deployment", "percent", func(d deployment) { d.Spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromString("many")) },
			`spec.strategy.rollingUpdate.maxSurge: Invalid value: "many": a valid percent string must be a numeric string followed by an ending '%'`),
		on("deployment", "recreate", func(d deployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType },
			"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"),
		on("deployment", "deadline", func(d deployment) { d.Spec.MinReadySeconds = 600 },
			"spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"),
		updating("deployment", "selector", func(d deployment) {
			d.Spec.Selector.MatchLabels = map[string]string{"app": "b"}
			d.Spec.Template.Labels = map[string]string{"app": "b"}
		}, `spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable`),
		updating("replicaset", "selector", func(d *appsv1.ReplicaSet) {
			d.Spec.Selector.MatchLabels["app"] = "b"
			d.Spec.Template.Labels["app"] = "b"
		},
			`spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable`),
		updating("statefulset", "service", func(d *appsv1.StatefulSet) { d.Spec.ServiceName = "other" },
			`spec.serviceName: Invalid value: "other": field is immutable`),
		on("statefulset", "mount", func(d *appsv1.StatefulSet) { d.Spec.VolumeClaimTemplates = nil },
			`spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"`),
		on("daemonset", "surge", func(d *appsv1.DaemonSet) { d.Spec.UpdateStrategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(1)) },
			"spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"),
		on("job", "restart", func(j *batchv1.Job) { j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways },
			`spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`),
		updating("job", "template", func(j *batchv1.Job) { j.Spec.Template.Spec.Containers[0].Image = "x:2" }, "spec.template: Invalid value: "),
		on("cronjob", "schedule", func(j *batchv1.CronJob) { j.Spec.Schedule = "* * *" },
			`spec.schedule: Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]`),
		on("cronjob", "minute", func(j *batchv1.CronJob) { j.Spec.Schedule = "61 * * * *" },
			`spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61`),
		on("cronjob", "name", func(j *batchv1.CronJob) { j.Name = strings.Repeat("a", 53) },
			`metadata.name: Invalid value: "`+strings.Repeat("a", 53)+`": must be no more than 52 characters`),
	})
}

func TestServiceValidation(t *testing.T) {
	type service = *corev1.Service
	runMutations(t, []mutation{
		on("service", "name", func(s service) { s.Name = "a.b" }, `metadata.name: Invalid value: "a.b": must not contain dots`),
		on("service", "no ports", func(s service) { s.Spec.Ports = nil }, "spec.ports: Required value"),
		on("service", "headless without ports", func(s service) { s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.Ports = "None", []string{"None"}, nil }, ""),
		on("service", "port", func(s service) { s.Spec.Ports[0].Port = 0 }, "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
		on("service", "node port", func(s service) { s.Spec.Ports[0].NodePort = 30000 },
			"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
		on("service-nodeport", "unnamed", func(s service) { s.Spec.Ports[0].Name = "" }, "spec.ports[0].name: Required value"),
		on("service-nodeport", "name twice", func(s service) { s.Spec.Ports[1].Name = "http" }, `spec.ports[1].name: Duplicate value: "http"`),
		on("service-nodeport", "headless", func(s service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} },
			`spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services`),
		on("service", "cluster ip", func(s service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "x", []string{"x"} },
			`spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address`),
		on("service", "type", func(s service) { s.Spec.Type = "Pipe"; s.Spec.InternalTrafficPolicy = nil },
			`spec.type: Unsupported value: "Pipe": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`),
		on("service-externalname", "name", func(s service) { s.Spec.ExternalName = "" }, "spec.externalName: Required value"),
		on("service", "loopback", func(s service) {
			s.Spec.ExternalIPs, s.Spec.ExternalTrafficPolicy = []string{"127.0.0.1"}, corev1.ServiceExternalTrafficPolicyCluster
		}, `spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`),
		updating("service-nodeport", "cluster ip", func(s service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.8", []string{"10.96.0.8"} },
			`spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set`),
		on("endpointslice", "no addresses", func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Addresses = nil },
			"endpoints[0].addresses: Required value"),
		updating("endpointslice", "family", func(s *discoveryv1.EndpointSlice) { s.AddressType, s.Endpoints = "IPv6", nil },
			`addressType: Invalid value: null: field is immutable`),
		on("networkpolicy", "peer", func(n *networkingv1.NetworkPolicy) { n.Spec.Ingress[0].From[0].PodSelector = nil },
			"spec.ingress[0].from[0]: Required value: must specify a peer"),
		on("ingress", "path", func(i *networkingv1.Ingress) { i.Spec.Rules[0].HTTP.Paths[0].Path = "x" },
			`spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path`),
	})
}

func TestOtherValidation(t *testing.T) {
	runMutations(t, []mutation{
		on("configmap", "key", func(c *corev1.ConfigMap) { c.Data["a b"] = "" }, `data[a b]: Invalid value: "a b": a valid config key must consist of`),
		on("configmap", "twice", func(c *corev1.ConfigMap) { c.Data["c"] = "" }, `data[c]: Invalid value: "c": duplicate of key present in binaryData`),
		on("configmap", "size", func(c *corev1.ConfigMap) { c.Data["b"] = strings.Repeat("x", 1<<20) }, `[]: Too long: may not be more than 1048576 bytes`),
		updating("configmap", "free", func(c *corev1.ConfigMap) { c.Data["a"] = "new" }, ""),
		updating("secret", "type", func(s *corev1.Secret) { s.Type = "x" }, `type: Invalid value: "x": field is immutable`),
		on("secret", "tls", func(s *corev1.Secret) { s.Type = corev1.SecretTypeTLS; s.Data["tls.key"] = nil }, "data[tls.crt]: Required value"),
		on("namespace", "name", func(n *corev1.Namespace) { n.Name = "a.b" }, `metadata.name: Invalid value: "a.b": must not contain dots`),
		updating("node", "pod cidr", func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"10.2.0.0/24"} },
			`spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`),
		on("node", "taint", func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "a", Effect: "No"}} }, `metadata.taints[0].effect: Unsupported value: "No"`),
		on("role", "verbs", func(r *rbacv1.Role) { r.Rules[0].Verbs = nil }, "rules[0].verbs: Required value"),
		on("role", "urls", func(r *rbacv1.Role) {
			r.Rules[0] = rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/x"}}
		},
			`rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs`),
		on("rolebinding", "kind", func(b *rbacv1.RoleBinding) { b.RoleRef.Kind = "Rule" },
			`roleRef.kind: Unsupported value: "Rule": supported values: "Role", "ClusterRole"`),
		on("clusterrolebinding", "account", func(b *rbacv1.ClusterRoleBinding) { b.Subjects[2].Namespace = "" }, "subjects[2].namespace: Required value"),
		updating("rolebinding", "role", func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "writer" }, "roleRef: Invalid value: "),
		on("certificatesigningrequest", "request", func(c *certificatesv1.CertificateSigningRequest) { c.Spec.Request = []byte("x") },
			"spec.request: Invalid value: "),
		on("certificatesigningrequest", "signer", func(c *certificatesv1.CertificateSigningRequest) { c.Spec.SignerName = "x" },
			`spec.signerName: Invalid value: "x": must be a fully qualified domain and path of the form 'example.com/signer-name'`),
		on("certificatesigningrequest", "short", func(c *certificatesv1.CertificateSigningRequest) { c.Spec.ExpirationSeconds = ptr.To[int32](1) },
			"spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 600 seconds (10 minutes)"),
		updating("priorityclass", "value", func(p *schedulingv1.PriorityClass) { p.Value = 2 }, "value: Forbidden: may not be changed in an update."),
		on("lease", "path", func(l txn.Object) { l.SetName("a/b") }, `metadata.name: Invalid value: "a/b"`),
		on("persistentvolumeclaim", "modes", func(p *corev1.PersistentVolumeClaim) { p.Spec.AccessModes = nil },
			"spec.accessModes: Required value: at least 1 access mode is required"),
		on("event", "namespace", func(e *corev1.Event) { e.InvolvedObject.Namespace = "other" },
			`involvedObject.namespace: Invalid value: "other": does not match event.namespace`),
	})
}

func TestImmutableData(t *testing.T) {
	t.Parallel()
	k, old := valid[*corev1.ConfigMap](t, "configmap")
	old.Immutable = ptr.To(true)
	o := old.DeepCopy()
	o.Data["a"] = "new"
	o.Immutable = nil
	errs := check(k, o, old)
	if len(errs) != 2 || errs[0].Error() != "immutable: Forbidden: field is immutable when `immutable` is set" ||
		errs[1].Error() != "data: Forbidden: field is immutable when `immutable` is set" {
		t.Errorf("errors: %v", errs.ToAggregate())
	}
}
