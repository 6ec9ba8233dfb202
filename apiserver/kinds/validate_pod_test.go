package kinds_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
)

// inPod is one rule about pods: a change of the golden one and what it is told.
func inPod(name string, mutate func(*corev1.Pod), want string) mutation {
	return on("pod", name, mutate, want)
}

func TestPodSecurityValidation(t *testing.T) {
	type pod = *corev1.Pod
	security := func(s corev1.SecurityContext) func(pod) {
		return func(p pod) { container(p).SecurityContext = &s }
	}
	runMutations(t, []mutation{
		inPod("unmasked", security(corev1.SecurityContext{ProcMount: ptr.To(corev1.UnmaskedProcMount)}),
			"spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`"),
		inPod("app armor type", security(corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{}}),
			"spec.containers[0].securityContext.appArmorProfile.type: Required value: type is required when appArmorProfile is set"),
		inPod("app armor profile", security(corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost}}),
			"spec.containers[0].securityContext.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost"),
		inPod("seccomp type", security(corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{}}),
			"spec.containers[0].securityContext.seccompProfile.type: Required value: type is required when seccompProfile is set"),
		inPod("seccomp path", security(corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{
			Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr.To("../x")}}),
			`spec.containers[0].securityContext.seccompProfile.localhostProfile: Invalid value: "../x": must not contain '..'`),
		inPod("supplemental groups", func(p pod) {
			p.Spec.SecurityContext.SupplementalGroupsPolicy = ptr.To[corev1.SupplementalGroupsPolicy]("No")
		},
			`spec.securityContext.supplementalGroupsPolicy: Unsupported value: "No": supported values: "Merge", "Strict"`),
		inPod("host pid of others' users", func(p pod) { p.Spec.HostUsers, p.Spec.HostPID = ptr.To(false), true },
			"spec.HostPID: Forbidden: when `hostUsers` is false"),
		inPod("shared processes", func(p pod) { p.Spec.HostPID, p.Spec.ShareProcessNamespace = true, ptr.To(true) },
			"spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"),
		inPod("system", func(p pod) { p.Spec.OS = &corev1.PodOS{} }, "spec.os.name: Required value"),
		inPod("other system", func(p pod) { p.Spec.OS = &corev1.PodOS{Name: "beos"} }, `spec.os: Unsupported value: "beos": supported values: "linux", "windows"`),
		inPod("host name", func(p pod) { p.Spec.HostnameOverride, p.Spec.SetHostnameAsFQDN = ptr.To("a"), ptr.To(true) },
			"spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true"),
		inPod("search", func(p pod) { p.Spec.DNSConfig = &corev1.PodDNSConfig{Searches: []string{"a b"}} },
			`spec.dnsConfig.searches[0]: Invalid value: "a b": a lowercase RFC 1123 subdomain must consist of`),
		inPod("address of a name server", func(p pod) { p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"010.0.0.1"}} },
			`spec.dnsConfig.nameservers[0]: Invalid value: "010.0.0.1": must not have leading 0s`),
		inPod("finalizer", func(p pod) { p.Finalizers = []string{"mine"} },
			`metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified`),
	})
}

func TestPodContainerValidation(t *testing.T) {
	type pod = *corev1.Pod
	always := corev1.ContainerRestartPolicyAlways
	runMutations(t, []mutation{
		inPod("restart rules without a policy", func(p pod) {
			container(p).RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart,
				ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{1}}}}
		}, "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used"),
		inPod("restart rule", func(p pod) {
			container(p).RestartPolicy = &always
			container(p).RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart}}
		}, "spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified"),
		inPod("resize policy", func(p pod) {
			container(p).ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: "disk", RestartPolicy: corev1.NotRequired}}
		}, `spec.containers[0].resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory"`),
		inPod("claim", func(p pod) { container(p).Resources.Claims = []corev1.ResourceClaim{{Name: "gpu"}} },
			`spec.containers[0].resources.claims[0]: Not found: "gpu": must be one of the names in pod.spec.resourceClaims which is empty`),
		inPod("claim of nothing", func(p pod) { p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}} },
			"spec.resourceClaims[0]: Invalid value: {\"name\":\"gpu\"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
		inPod("half a huge page", func(p pod) {
			container(p).Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1"), "hugepages-2Mi": resource.MustParse("3Mi")}
		}, `spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi`),
		inPod("resources of the pod", func(p pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{"storage": resource.MustParse("1")}}
		}, `spec.resources.limits[storage]: Unsupported value: "storage": supported values: "cpu", "hugepages-", "memory"`),
		inPod("sleep", func(p pod) {
			container(p).Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 3600}}}
		}, "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 3600: must be non-negative and less than terminationGracePeriodSeconds ("),
		inPod("signal", func(p pod) { container(p).Lifecycle = &corev1.Lifecycle{StopSignal: ptr.To(corev1.SIGTERM)} },
			"spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`"),
		inPod("header", func(p pod) {
			container(p).Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{
				Path: "/", Port: intstr.FromInt32(80), Scheme: corev1.URISchemeHTTP, HTTPHeaders: []corev1.HTTPHeader{{Name: "a b"}}}}}
		}, `spec.containers[0].lifecycle.postStart.httpGet.httpHeaders: Invalid value: "a b": a valid HTTP header must consist of`),
		inPod("variables from nowhere", func(p pod) { container(p).EnvFrom = []corev1.EnvFromSource{{}} },
			"spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"),
		inPod("variable of a file", func(p pod) {
			container(p).Env[0].Value = ""
			container(p).Env[0].ValueFrom = &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "none", Path: "x", Key: "A"}}
		}, `spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Not found: "none"`),
		inPod("divisor", func(p pod) {
			container(p).Env[0].ValueFrom = &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{
				Resource: "limits.cpu", Divisor: resource.MustParse("2")}}
		}, `spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "cpu": only divisor's values 1m and 1 are supported with the cpu resource`),
		inPod("recursive", func(p pod) {
			container(p).VolumeMounts[1].RecursiveReadOnly = ptr.To(corev1.RecursiveReadOnlyEnabled)
			container(p).VolumeMounts[1].ReadOnly = false
		},
			"spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true"),
	})
}

func TestPodVolumeValidation(t *testing.T) {
	volume := func(name string, s corev1.VolumeSource, want string) mutation {
		return inPod(name, func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: s})
		}, want)
	}
	at := func(p *corev1.Pod) int { return len(p.Spec.Volumes) }
	_, golden := valid[*corev1.Pod](t, "pod")
	v := "spec.volumes[" + string(rune('0'+at(golden))) + "]."
	projected := func(s corev1.VolumeProjection) corev1.VolumeSource {
		return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{s}}}
	}
	items := []corev1.KeyToPath{{Key: "a", Path: "x"}, {Key: "b", Path: "x"}}
	runMutations(t, []mutation{
		volume("two sources", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}, Secret: &corev1.SecretVolumeSource{SecretName: "s"}},
			v+"secret: Forbidden: may not specify more than 1 volume type"),
		volume("driver", corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "a b"}}, v+`csi.driver: Invalid value: "a b": a lowercase RFC 1123 subdomain`),
		volume("partition", corev1.VolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "d", Partition: 300}},
			v+"persistentDisk.partition: Invalid value: 300: must be between 1 and 255, inclusive"),
		volume("fibre", corev1.VolumeSource{FC: &corev1.FCVolumeSource{TargetWWNs: []string{"a"}}},
			v+"fc.lun: Required value: lun is required if targetWWNs is specified"),
		volume("file twice", projected(corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Items: items}}), v+`projected: Invalid value: "s": conflicting duplicate paths`),
		volume("hidden file", projected(corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: "c"}, Items: []corev1.KeyToPath{{Key: "a", Path: "..x"}}}}),
			v+`projected.sources[0].configMap.items[0].path: Invalid value: "..x": must not start with '..'`),
		volume("trust bundle", projected(corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Path: "ca.pem"}}),
			v+"projected.sources[0].clusterTrustBundle: Required value: either name or signerName must be specified"),
		volume("field", corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "x"}}}},
			v+"downwardAPI: Required value: one of fieldRef and resourceFieldRef is required"),
		volume("claim template", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
			ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}}}}}},
			v+"ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set"),
	})
}

func TestPodPlacementValidation(t *testing.T) {
	type pod = *corev1.Pod
	term := func(t corev1.PodAffinityTerm) func(pod) {
		t.TopologyKey = "zone"
		return func(p pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{t}}}
		}
	}
	const at = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]."
	runMutations(t, []mutation{
		inPod("keys without a selector", term(corev1.PodAffinityTerm{MatchLabelKeys: []string{"app"}}),
			at+"matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"),
		inPod("key in both", term(corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{}, MatchLabelKeys: []string{"app"}, MismatchLabelKeys: []string{"app"}}),
			at+`matchLabelKeys[0]: Invalid value: "app": exists in both matchLabelKeys and mismatchLabelKeys`),
		inPod("namespace", term(corev1.PodAffinityTerm{Namespaces: []string{"A"}}), at+`namespace: Invalid value: "A": a lowercase RFC 1123 label`),
		updating("pod", "added container", func(p pod) {
			p.Spec.Containers = append(p.Spec.Containers, *container(p).DeepCopy())
			p.Spec.Containers[2].Name = "c"
			p.Spec.Containers[2].Ports = nil
		},
			"spec.containers: Forbidden: pod updates may not add or remove containers"),
	})
}

func TestPodStatusValidation(t *testing.T) {
	t.Parallel()
	k, old := valid[*corev1.Pod](t, "pod-host-network")
	status := k.Subresources["status"]
	for _, tt := range []struct {
		name   string
		mutate func(s *corev1.PodStatus)
		want   string
	}{
		{"one address", func(s *corev1.PodStatus) { s.PodIP = "10.0.0.1" }, ""},
		{"not an address", func(s *corev1.PodStatus) { s.PodIP = "x" }, `status.podIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`},
		{"two of a family", func(s *corev1.PodStatus) { s.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "10.0.0.2"}} },
			`status.podIPs: Invalid value: [{"ip":"10.0.0.1"},{"ip":"10.0.0.2"}]: may specify no more than one IP for each IP family`},
		{"host's other address", func(s *corev1.PodStatus) { s.HostIPs = []corev1.HostIP{{IP: "10.0.0.1"}} },
			`status.hostIPs[0].ip: Invalid value: "10.0.0.1": must be equal to ` + "`hostIP`"},
		{"class", func(s *corev1.PodStatus) { s.QOSClass = corev1.PodQOSGuaranteed }, `status.qosClass: Invalid value: "Guaranteed": field is immutable`},
		{"nominated", func(s *corev1.PodStatus) { s.NominatedNodeName = "n2" },
			"status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node"},
		{"generation", func(s *corev1.PodStatus) { s.ObservedGeneration = -1 }, "status.observedGeneration: Invalid value: -1: must be a non-negative integer"},
	} {
		o := old.DeepCopy()
		tt.mutate(&o.Status)
		status.Prepare(o, old)
		errs := status.Validate(txn.Object(o), txn.Object(old))
		switch {
		case tt.want == "" && len(errs) > 0, tt.want != "" && (len(errs) != 1 || errs[0].Error() != tt.want):
			t.Errorf("%s: %v, want %q", tt.name, errs.ToAggregate(), tt.want)
		}
	}
}
