package kinds_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
)

func TestStatefulSetValidation(t *testing.T) {
	type set = *appsv1.StatefulSet
	claim := func(o set) *corev1.PersistentVolumeClaimSpec { return &o.Spec.VolumeClaimTemplates[0].Spec }
	runMutations(t, []mutation{
		on("statefulset", "name", func(o set) { o.Name = "a.b" }, `metadata.name: Invalid value: "a.b": must not contain dots`),
		on("statefulset", "service", func(o set) { o.Spec.ServiceName = "a.b" }, `spec.serviceName: Invalid value: "a.b": must not contain dots`),
		on("statefulset", "order", func(o set) { o.Spec.PodManagementPolicy = "Random" }, `spec.podManagementPolicy: Invalid value: "Random": must be 'OrderedReady' or 'Parallel'`),
		on("statefulset", "strategy", func(o set) { o.Spec.UpdateStrategy.Type = "Recreate" }, "spec.updateStrategy: Invalid value"),
		on("statefulset", "rolling by hand", func(o set) { o.Spec.UpdateStrategy.Type = "OnDelete" }, "spec.updateStrategy.rollingUpdate: Invalid value"),
		on("statefulset", "never replaced", func(o set) { o.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromString("0%")) },
			`spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "0%": cannot be 0`),
		on("statefulset", "no modes", func(o set) { claim(o).AccessModes = nil }, "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required"),
		on("statefulset", "source", func(o set) { claim(o).DataSource = &corev1.TypedLocalObjectReference{Kind: "Secret", Name: "s"} },
			`spec.volumeClaimTemplates[0].spec.dataSource: Invalid value: "Secret": must be 'PersistentVolumeClaim'`),
		on("statefulset", "volume of a claim's name", func(o set) {
			o.Spec.Template.Spec.Volumes = append(o.Spec.Template.Spec.Volumes, corev1.Volume{Name: o.Spec.VolumeClaimTemplates[0].Name})
		}, ""),
		on("statefulset", "names that pods get", func(o set) { o.Spec.Template.Spec.Hostname, o.Spec.Template.Spec.Subdomain = "A", "B" }, ""),
	})
}

func TestSmallRulesOfPods(t *testing.T) {
	type podT = *corev1.Pod
	spread := func(all ...corev1.TopologySpreadConstraint) func(podT) {
		return func(o podT) { o.Spec.TopologySpreadConstraints = all }
	}
	zones := corev1.TopologySpreadConstraint{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.ScheduleAnyway}
	domains := zones
	domains.MinDomains = ptr.To[int32](0)
	_, o := valid[podT](t, "pod")
	bundle := func(o podT) {
		o.Spec.Volumes = append(o.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Path: "ca.pem", Name: ptr.To("A")}}},
		}}})
	}
	runMutations(t, []mutation{
		on("pod", "one kind of spread twice", spread(zones, zones), `spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "{zone, ScheduleAnyway}"`),
		on("pod", "domains", spread(domains), "spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero\n"+
			"spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule"),
		on("pod", "trust bundle's name", bundle, fmt.Sprintf("spec.volumes[%d]", len(o.Spec.Volumes))+`.projected.sources[0].clusterTrustBundle.name: Invalid value: "A": not a valid clustertrustbundlename`),
		on("pod", "empty preemption", func(o podT) { o.Spec.PreemptionPolicy = ptr.To(corev1.PreemptionPolicy("")) }, "spec.preemptionPolicy: Required value"),
		on("pod", "greater than", func(o podT) { o.Spec.Tolerations = []corev1.Toleration{{Key: "a", Operator: "Gt", Value: "1"}} },
			`spec.tolerations[0].operator: Unsupported value: "Gt": supported values: "Equal", "Exists", "Lt", "Gt"`),
		updating("pod", "gate", func(o podT) { o.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} },
			"spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"),
		on("deployment", "strategy", func(o *appsv1.Deployment) { o.Spec.Strategy.Type = "Blue" }, "spec.strategy: Unsupported value"),
	})
}

func TestDriverValidation(t *testing.T) {
	type podT = *corev1.Pod
	of := func(source corev1.VolumeSource) func(podT) {
		return func(o podT) { o.Spec.Volumes = append(o.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: source}) }
	}
	_, o := valid[podT](t, "pod")
	at := fmt.Sprintf("spec.volumes[%d].", len(o.Spec.Volumes))
	runMutations(t, []mutation{
		on("pod", "managed disk", of(corev1.VolumeSource{AzureDisk: &corev1.AzureDiskVolumeSource{DiskName: "d", DataDiskURI: "https://x", Kind: ptr.To(corev1.AzureManagedDisk)}}),
			at+`azureDisk.diskURI: Unsupported value: "https://x": supported values: "/subscriptions/`),
		on("pod", "iSCSI name", of(corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{TargetPortal: "p", IQN: "disk"}}), at+`iscsi.iqn: Invalid value: "disk": must be valid format starting with iqn, eui, or naa`),
		on("pod", "iSCSI initiator", of(corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{TargetPortal: "p", IQN: "eui.0123456789abcdef", InitiatorName: ptr.To("naa.1")}}),
			at+`iscsi.initiatorname: Invalid value: "naa.1": must be valid format`),
		on("pod", "iSCSI without password", of(corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{TargetPortal: "p", IQN: "eui.0123456789abcdef", SessionCHAPAuth: true}}), at+"iscsi.secretRef: Required value"),
		on("pod", "directory above", of(corev1.VolumeSource{GitRepo: &corev1.GitRepoVolumeSource{Repository: "r", Directory: "../x"}}), at+`gitRepo.directory: Invalid value: "../x": must not contain '..'`),
		on("pod", "nameless secret", of(corev1.VolumeSource{Cinder: &corev1.CinderVolumeSource{VolumeID: "c", SecretRef: &corev1.LocalObjectReference{}}}), at+"cinder.secretRef.name: Required value"),
	})
}

func TestMoreOfPodStatus(t *testing.T) {
	t.Parallel()
	k, old := valid[*corev1.Pod](t, "pod")
	name := old.Spec.Containers[0].Name
	running := func(s corev1.ContainerStatus) func(*corev1.PodStatus) {
		return func(o *corev1.PodStatus) { o.ContainerStatuses = []corev1.ContainerStatus{s} }
	}
	for test, c := range map[string]struct {
		set  func(s *corev1.PodStatus)
		want string
	}{
		"claim nobody asks for": {func(s *corev1.PodStatus) { s.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "x"}} }, `status.resourceClaimStatuses[0].name: Invalid value: "x"`},
		"claim for nothing": {func(s *corev1.PodStatus) {
			s.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "c"}
		}, "status.extendedResourceClaimStatus.requestMappings: Required value"},
		"user": {running(corev1.ContainerStatus{Name: name, User: &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: -1}}}), "status.containerStatuses[0].user.linux.uid: Invalid value: -1"},
		"device nobody asks for": {running(corev1.ContainerStatus{Name: name, AllocatedResourcesStatus: []corev1.ResourceStatus{{Name: "example.com/gpu"}}}),
			`status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: "example.com/gpu"`},
		"health": {running(corev1.ContainerStatus{AllocatedResourcesStatus: []corev1.ResourceStatus{{Name: "x", Resources: []corev1.ResourceHealth{{ResourceID: "1", Health: "Tired"}}}}}),
			`status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: "Tired"`},
	} {
		o := old.DeepCopy()
		c.set(&o.Status)
		if errs := k.Subresources["status"].Validate(o, old); !tells(errs, []string{c.want}) {
			t.Errorf("%s: %v\nwant %s", test, errs.ToAggregate(), c.want)
		}
	}
}

// What pods have of features that are off goes in no kind that has pods.
func TestUnusedFieldsOfPodsAreDropped(t *testing.T) {
	t.Parallel()
	table := newTable(t)
	specs := map[string]func(o txn.Object) *corev1.PodSpec{
		"pod":         func(o txn.Object) *corev1.PodSpec { return &o.(*corev1.Pod).Spec },
		"deployment":  func(o txn.Object) *corev1.PodSpec { return &o.(*appsv1.Deployment).Spec.Template.Spec },
		"cronjob":     func(o txn.Object) *corev1.PodSpec { return &o.(*batchv1.CronJob).Spec.JobTemplate.Spec.Template.Spec },
		"podtemplate": func(o txn.Object) *corev1.PodSpec { return &o.(*corev1.PodTemplate).Template.Spec },
		"replicationcontroller": func(o txn.Object) *corev1.PodSpec {
			return &o.(*corev1.ReplicationController).Spec.Template.Spec
		},
	}
	for golden, spec := range specs {
		t.Run(golden, func(t *testing.T) {
			t.Parallel()
			k, old := createdFrom(t, table, "testdata/kinds/"+golden+".txtar")
			set := func(o txn.Object) txn.Object {
				s, c := spec(o), &spec(o).Containers[0]
				s.SchedulingGroup = &corev1.PodSchedulingGroup{}
				s.EvictionResponders = make([]corev1.EvictionResponder, 1)
				s.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Mode: ptr.To[int32](1)}}},
					{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{DefaultUser: ptr.To[int64](1), Items: []corev1.KeyToPath{{User: ptr.To[int64](1)}}}}}}
				c.VolumeMounts = []corev1.VolumeMount{{BindMountOptions: []string{"x"}}}
				c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Protocol: ptr.To(corev1.HTTPProtocol("x"))}}}
				c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Mode: ptr.To(corev1.GRPCProbeMode("x"))}}}
				return o
			}
			count := func(o txn.Object) int {
				s, c := spec(o), &spec(o).Containers[0]
				all := []bool{s.SchedulingGroup != nil, s.EvictionResponders != nil, s.Volumes[0].EmptyDir.Mode != nil, s.Volumes[1].ConfigMap.DefaultUser != nil,
					s.Volumes[1].ConfigMap.Items[0].User != nil, c.VolumeMounts[0].BindMountOptions != nil, c.LivenessProbe.HTTPGet.Protocol != nil, c.ReadinessProbe.GRPC.Mode != nil}
				return len(slices.DeleteFunc(all, func(b bool) bool { return !b }))
			}
			o := set(old.DeepCopyObject().(txn.Object))
			if k.Prepare(o, old); count(o) != 0 {
				t.Errorf("an update sets %d of them", count(o))
			}
			if k.Prepare(set(o), nil); count(o) != 0 {
				t.Errorf("a new object has %d of them", count(o))
			}
			has := set(old.DeepCopyObject().(txn.Object))
			if k.Prepare(set(o), has); count(o) != 8 {
				t.Errorf("of 8 that are there, %d stay", count(o))
			}
		})
	}
}

func TestTemplateWarnings(t *testing.T) {
	t.Parallel()
	pods, pod := valid[*corev1.Pod](t, "pod")
	jobs, cron := valid[*batchv1.CronJob](t, "cronjob")
	for name, test := range map[string]struct {
		set  func(o *corev1.Pod)
		want string
	}{
		"name":            {func(o *corev1.Pod) { o.Name = "a.b" }, "metadata.name: this is used in the Pod's hostname"},
		"old label":       {func(o *corev1.Pod) { o.Spec.NodeSelector = map[string]string{"beta.kubernetes.io/os": "linux"} }, "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14"},
		"nameless secret": {func(o *corev1.Pod) { o.Spec.ImagePullSecrets = make([]corev1.LocalObjectReference, 1) }, `spec.imagePullSecrets[0].name: invalid empty name ""`},
		"grace":           {func(o *corev1.Pod) { o.Spec.TerminationGracePeriodSeconds = ptr.To[int64](-1) }, "spec.terminationGracePeriodSeconds: must be >= 0"},
		"parts of bytes":  {func(o *corev1.Pod) { container(o).Resources.Limits = list("memory", "1m") }, `spec.containers[0].resources.limits[memory]: fractional byte value "1m"`},
		"dead volume": {func(o *corev1.Pod) {
			o.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{RBD: &corev1.RBDVolumeSource{}}
		}, "spec.volumes[0].rbd: deprecated in v1.28"},
		"hidden variable": {func(o *corev1.Pod) { container(o).Env = []corev1.EnvVar{{Name: "A"}, {Name: "A", Value: "x"}} }, `spec.containers[0].env[1]: hides previous definition of "A"`},
		"one port twice": {func(o *corev1.Pod) {
			container(o).Ports = []corev1.ContainerPort{{ContainerPort: 80}, {ContainerPort: 80}}
		}, "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"},
		"no pod": {func(o *corev1.Pod) {
			o.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: make([]corev1.PodAffinityTerm, 1)}}
		}, "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod"},
		"dead annotation": {func(o *corev1.Pod) {
			o.ObjectMeta = metav1.ObjectMeta{Name: "p", Annotations: map[string]string{"seccomp.security.alpha.kubernetes.io/pod": ""}}
			o.Spec.SecurityContext = nil
		}, "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+"},
	} {
		o := pod.DeepCopy()
		test.set(o)
		if all := pods.Warnings(o, nil); !slices.ContainsFunc(all, func(w string) bool { return strings.HasPrefix(w, test.want) }) {
			t.Errorf("%s: %q\nwant %q", name, all, test.want)
		}
	}
	cron.Spec.JobTemplate.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](-1)
	if all := jobs.Warnings(cron, nil); !slices.Contains(all, "spec.jobTemplate.spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1") {
		t.Errorf("a CronJob warns: %q", all)
	}
}
