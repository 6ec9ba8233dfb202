package kinds_test

import (
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

func list(name corev1.ResourceName, amount string) corev1.ResourceList {
	return corev1.ResourceList{name: resource.MustParse(amount)}
}

func TestQuotaValidation(t *testing.T) {
	type (
		quota = *corev1.ResourceQuota
		limit = *corev1.LimitRange
	)
	selecting := func(scope corev1.ResourceQuotaScope, operator corev1.ScopeSelectorOperator, values ...string) func(quota) {
		return func(o quota) {
			o.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{ScopeName: scope, Operator: operator, Values: values}}}
		}
	}
	item := func(o limit) *corev1.LimitRangeItem { return &o.Spec.Limits[0] }
	runMutations(t, []mutation{
		on("resourcequota", "part of a pod", func(o quota) { o.Spec.Hard = list("pods", "1500m") }, `spec.hard[pods]: Invalid value: "1500m": must be an integer`),
		on("resourcequota", "part of a processor", func(o quota) { o.Spec.Hard = list("requests.cpu", "1500m") }, ""),
		on("resourcequota", "less than nothing", func(o quota) { o.Spec.Hard = list("cpu", "-1") }, `spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0`),
		on("resourcequota", "unknown", func(o quota) { o.Spec.Hard = list("puppies", "1") }, "spec.hard[puppies]: Invalid value: \"puppies\": must be a standard resource type or fully qualified\n"+
			"spec.hard[puppies]: Invalid value: \"puppies\": must be a standard resource for quota"),
		on("resourcequota", "any kind", func(o quota) { o.Spec.Hard = list("count/widgets.example.com", "1") }, ""),
		on("resourcequota", "storage of a class", func(o quota) { o.Spec.Hard = list("gold.storageclass.storage.k8s.io/requests.storage", "1Gi") }, ""),
		on("resourcequota", "huge pages", func(o quota) { o.Spec.Hard = list("requests.hugepages-2Mi", "4Mi") }, ""),
		on("resourcequota", "scope", func(o quota) { o.Spec.Scopes = []corev1.ResourceQuotaScope{"Sleepy"} }, `spec.scopes: Invalid value: ["Sleepy"]: unsupported scope`),
		on("resourcequota", "both", func(o quota) { o.Spec.Scopes = []corev1.ResourceQuotaScope{"Terminating", "NotTerminating"} }, `spec.scopes: Invalid value: ["Terminating","NotTerminating"]: conflicting scopes`),
		on("resourcequota", "scope of other things", func(o quota) {
			o.Spec.Hard, o.Spec.Scopes = list("services", "1"), []corev1.ResourceQuotaScope{"Terminating"}
		}, `spec.scopes: Invalid value: ["Terminating"]: unsupported scope applied to resource`),
		on("resourcequota", "amounts of best effort", func(o quota) { o.Spec.Scopes = []corev1.ResourceQuotaScope{"BestEffort"} }, `spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource`),
		on("resourcequota", "priority classes", selecting("PriorityClass", "In", "high"), ""),
		on("resourcequota", "of no priority class", selecting("PriorityClass", "In"), "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value"),
		on("resourcequota", "values of existence", selecting("PriorityClass", "Exists", "high"), `spec.scopeSelector.matchExpressions.values: Invalid value: ["high"]: must be no value`),
		on("resourcequota", "operator", selecting("PriorityClass", "Like"), `spec.scopeSelector.matchExpressions.operator: Invalid value: "Like": not a valid selector operator`),
		on("resourcequota", "operator of a scope", selecting("Terminating", "DoesNotExist"), `spec.scopeSelector.matchExpressions.operator: Invalid value: "DoesNotExist": must be 'Exists'`),
		updating("resourcequota", "scopes", func(o quota) { o.Spec.Scopes = []corev1.ResourceQuotaScope{"Terminating"} }, `spec.scopes: Invalid value: ["Terminating"]: field is immutable`),

		on("limitrange", "min over max", func(o limit) { item(o).Min = list("cpu", "2"); item(o).Default, item(o).DefaultRequest = nil, nil },
			`spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1`),
		on("limitrange", "request over default", func(o limit) {
			item(o).Max, item(o).Default, item(o).DefaultRequest = nil, list("cpu", "1"), list("cpu", "2")
		},
			`spec.limits[0].defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than default limit value 1`),
		on("limitrange", "defaults of pods", func(o limit) { item(o).Type, item(o).DefaultRequest = "Pod", nil }, "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"),
		on("limitrange", "claims without bounds", func(o limit) { *item(o) = corev1.LimitRangeItem{Type: "PersistentVolumeClaim"} }, "spec.limits[0].limits: Required value: either minimum or maximum storage value is required"),
		on("limitrange", "type", func(o limit) { item(o).Type = "Lunch" }, `spec.limits[0].type: Invalid value: "Lunch": must be a standard limit type or fully qualified`),
		on("limitrange", "no resource of containers", func(o limit) {
			*item(o) = corev1.LimitRangeItem{Type: "Container", MaxLimitRequestRatio: list("pods", "2")}
		}, `spec.limits[0].maxLimitRequestRatio[pods]: Invalid value: "pods": must be a standard resource for containers`),
		on("limitrange", "default over max", func(o limit) { item(o).Default = list("cpu", "1500m") }, `spec.limits[0].default[cpu]: Invalid value: "1": default value 1500m is greater than max value 1`),
		on("limitrange", "small ratio", func(o limit) { item(o).MaxLimitRequestRatio = list("cpu", "500m") }, `spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1`),
		on("limitrange", "ratio beyond max/min", func(o limit) {
			*item(o) = corev1.LimitRangeItem{Type: "Container", Min: list("cpu", "1"), Max: list("cpu", "2"), MaxLimitRequestRatio: list("cpu", "3")}
		}, `spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000`),
	})
}

func TestAutoscalerValidation(t *testing.T) {
	type hpa = *autoscalingv2.HorizontalPodAutoscaler
	metric := func(o hpa) *autoscalingv2.MetricSpec { return &o.Spec.Metrics[0] }
	down := func(o hpa) *autoscalingv2.HPAScalingRules { return o.Spec.Behavior.ScaleDown }
	pods := func(target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
		return autoscalingv2.MetricSpec{Type: "Pods", Pods: &autoscalingv2.PodsMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: "hits"}, Target: target}}
	}
	external := func(target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
		return autoscalingv2.MetricSpec{Type: "External", External: &autoscalingv2.ExternalMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: "hits"}, Target: target}}
	}
	one := ptr.To(resource.MustParse("1"))
	runMutations(t, []mutation{
		on("horizontalpodautoscaler", "target's version", func(o hpa) { o.Spec.ScaleTargetRef.APIVersion = "a/b/c" }, `spec.scaleTargetRef.apiVersion: Invalid value: "a/b/c"`),
		on("horizontalpodautoscaler", "target without group", func(o hpa) { o.Spec.ScaleTargetRef.APIVersion = "v1" }, `spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group`),
		on("horizontalpodautoscaler", "target of the core group", func(o hpa) {
			o.Spec.ScaleTargetRef.APIVersion, o.Spec.ScaleTargetRef.Kind = "v1", "ReplicationController"
		}, ""),
		on("horizontalpodautoscaler", "to zero by nothing outside", func(o hpa) { o.Spec.MinReplicas = ptr.To[int32](0) }, "spec.metrics: Forbidden: must specify at least one Object or External metric"),
		on("horizontalpodautoscaler", "to zero", func(o hpa) {
			o.Spec.MinReplicas, *metric(o) = ptr.To[int32](0), external(autoscalingv2.MetricTarget{Type: "Value", Value: one})
		}, ""),
		on("horizontalpodautoscaler", "no most", func(o hpa) { o.Spec.MaxReplicas, o.Spec.MinReplicas = 0, nil }, "spec.maxReplicas: Required value"),
		on("horizontalpodautoscaler", "target's name", func(o hpa) { o.Spec.ScaleTargetRef.Name = "../x" }, `spec.scaleTargetRef.name: Invalid value: "../x"`),
		on("horizontalpodautoscaler", "window", func(o hpa) { down(o).StabilizationWindowSeconds = ptr.To[int32](3601) }, "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600"),
		on("horizontalpodautoscaler", "choice", func(o hpa) { down(o).SelectPolicy = ptr.To(autoscalingv2.ScalingPolicySelect("Any")) }, `spec.behavior.scaleDown.selectPolicy: Unsupported value: "Any"`),
		on("horizontalpodautoscaler", "no policies", func(o hpa) { down(o).Policies = nil }, "spec.behavior.scaleDown.policies: Required value: must specify at least one Policy"),
		on("horizontalpodautoscaler", "policy's type", func(o hpa) { down(o).Policies[0].Type = "Nodes" }, `spec.behavior.scaleDown.policies[0].type: Unsupported value: "Nodes"`),
		on("horizontalpodautoscaler", "policy's value", func(o hpa) { down(o).Policies[0].Value = 0 }, "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero"),
		on("horizontalpodautoscaler", "policy's period", func(o hpa) { down(o).Policies[0].PeriodSeconds = 1801 }, "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800"),
		on("horizontalpodautoscaler", "metric's type", func(o hpa) { metric(o).Type = "Weather"; metric(o).Resource = nil }, `spec.metrics[0].type: Unsupported value: "Weather"`),
		on("horizontalpodautoscaler", "utilization", func(o hpa) { metric(o).Resource.Target.AverageUtilization = ptr.To[int32](0) }, "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"),
		on("horizontalpodautoscaler", "two targets", func(o hpa) { metric(o).Resource.Target.AverageValue = one }, "spec.metrics[0].resource.target.averageValue: Forbidden: may not set both"),
		on("horizontalpodautoscaler", "no container", func(o hpa) {
			*metric(o) = autoscalingv2.MetricSpec{Type: "ContainerResource", ContainerResource: &autoscalingv2.ContainerResourceMetricSource{Name: "cpu", Target: metric(o).Resource.Target}}
		}, "spec.metrics[0].containerResource.container: Required value: must specify a container"),
		on("horizontalpodautoscaler", "pods", func(o hpa) { *metric(o) = pods(autoscalingv2.MetricTarget{Type: "AverageValue", AverageValue: one}) }, ""),
		on("horizontalpodautoscaler", "no average of pods", func(o hpa) { *metric(o) = pods(autoscalingv2.MetricTarget{Type: "AverageValue"}) }, "spec.metrics[0].pods.target.averageValue: Required value"),
		on("horizontalpodautoscaler", "external", func(o hpa) { *metric(o) = external(autoscalingv2.MetricTarget{Type: "Value", Value: one}) }, ""),
		on("horizontalpodautoscaler", "external twice", func(o hpa) {
			*metric(o) = external(autoscalingv2.MetricTarget{Type: "Value", Value: one, AverageValue: one})
		}, "spec.metrics[0].external.target.value: Forbidden"),
		on("horizontalpodautoscaler", "target's type", func(o hpa) { *metric(o) = external(autoscalingv2.MetricTarget{Type: "Some", Value: one}) }, `spec.metrics[0].external.target.type: Invalid value: "Some": must be either Utilization, Value, or AverageValue`),
	})
}

func TestVolumeSourceValidation(t *testing.T) {
	type (
		podT   = *corev1.Pod
		volume = *corev1.PersistentVolume
	)
	of := func(source corev1.VolumeSource) func(podT) {
		return func(o podT) { o.Spec.Volumes = append(o.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: source}) }
	}
	kept := func(source corev1.PersistentVolumeSource) func(volume) {
		return func(o volume) { o.Spec.PersistentVolumeSource = source }
	}
	tests := []struct {
		field  string
		source corev1.VolumeSource
	}{
		{"awsElasticBlockStore.volumeID", corev1.VolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{}}},
		{"azureDisk.diskURI", corev1.VolumeSource{AzureDisk: &corev1.AzureDiskVolumeSource{DiskName: "d"}}},
		{"azureFile.shareName", corev1.VolumeSource{AzureFile: &corev1.AzureFileVolumeSource{SecretName: "s"}}},
		{"cephfs.monitors", corev1.VolumeSource{CephFS: &corev1.CephFSVolumeSource{}}},
		{"cinder.volumeID", corev1.VolumeSource{Cinder: &corev1.CinderVolumeSource{}}},
		{"fc.targetWWNs", corev1.VolumeSource{FC: &corev1.FCVolumeSource{Lun: ptr.To[int32](1)}}},
		{"fc.lun", corev1.VolumeSource{FC: &corev1.FCVolumeSource{TargetWWNs: []string{"w"}}}},
		{"flexVolume.driver", corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{}}},
		{"flocker", corev1.VolumeSource{Flocker: &corev1.FlockerVolumeSource{}}},
		{"persistentDisk.pdName", corev1.VolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{}}},
		{"gitRepo.repository", corev1.VolumeSource{GitRepo: &corev1.GitRepoVolumeSource{}}}, //nolint:staticcheck // deprecated, and served
		{"glusterfs.path", corev1.VolumeSource{Glusterfs: &corev1.GlusterfsVolumeSource{EndpointsName: "e"}}},
		{"iscsi.iqn", corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{TargetPortal: "p"}}},
		{"photonPersistentDisk.pdID", corev1.VolumeSource{PhotonPersistentDisk: &corev1.PhotonPersistentDiskVolumeSource{}}},
		{"portworxVolume.volumeID", corev1.VolumeSource{PortworxVolume: &corev1.PortworxVolumeSource{}}},
		{"quobyte.volume", corev1.VolumeSource{Quobyte: &corev1.QuobyteVolumeSource{Registry: "r:7861"}}},
		{"rbd.image", corev1.VolumeSource{RBD: &corev1.RBDVolumeSource{CephMonitors: []string{"m"}}}},
		{"scaleIO.volumeName", corev1.VolumeSource{ScaleIO: &corev1.ScaleIOVolumeSource{Gateway: "g", System: "s"}}},
		{"storageos.volumeName", corev1.VolumeSource{StorageOS: &corev1.StorageOSVolumeSource{}}},
		{"vsphereVolume.volumePath", corev1.VolumeSource{VsphereVolume: &corev1.VsphereVirtualDiskVolumeSource{}}},
	}
	var all []mutation
	for _, test := range tests {
		all = append(all, on("pod", test.field, of(test.source), "spec.volumes[4]."+test.field+": Required value"))
	}
	all = append(all,
		on("persistentvolume", "csi handle", kept(corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d"}}), "spec.csi.volumeHandle: Required value"),
		on("persistentvolume", "nfs path", kept(corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "s"}}), "spec.nfs.path: Required value\nspec.nfs.path: Invalid value: \"\": must be an absolute path"),
		on("persistentvolume", "iscsi lun", kept(corev1.PersistentVolumeSource{ISCSI: &corev1.ISCSIPersistentVolumeSource{TargetPortal: "p", IQN: "iqn.2001-04.com.example:disk", Lun: 256}}), "spec.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive"),
		on("persistentvolume", "two sources", kept(corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "s", Path: "/p"}, CSI: &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "h"}}), "spec.csi: Forbidden: may not specify more than 1 volume type"),
	)
	runMutations(t, all)
}

func TestOSValidation(t *testing.T) {
	type podT = *corev1.Pod
	// bare is a pod with nothing that Windows lacks.
	bare := func(changes ...func(podT)) func(podT) {
		return func(o podT) {
			o.Spec = corev1.PodSpec{RestartPolicy: o.Spec.RestartPolicy, DNSPolicy: o.Spec.DNSPolicy, SchedulerName: o.Spec.SchedulerName,
				TerminationGracePeriodSeconds: o.Spec.TerminationGracePeriodSeconds, EnableServiceLinks: o.Spec.EnableServiceLinks,
				SecurityContext: &corev1.PodSecurityContext{}, Containers: []corev1.Container{{Name: "c", Image: "i", SecurityContext: &corev1.SecurityContext{},
					ImagePullPolicy: corev1.PullAlways, TerminationMessagePolicy: corev1.TerminationMessageReadFile, TerminationMessagePath: "/dev/termination-log"}}}
			for _, f := range changes {
				f(o)
			}
		}
	}
	named := func(name corev1.OSName) func(podT) {
		return func(o podT) { o.Spec.OS = &corev1.PodOS{Name: name} }
	}
	options := func(w corev1.WindowsSecurityContextOptions) func(podT) {
		return func(o podT) { o.Spec.SecurityContext.WindowsOptions = &w }
	}
	account := func(name string) func(podT) {
		return options(corev1.WindowsSecurityContextOptions{RunAsUserName: &name})
	}
	const refused = `spec.securityContext.windowsOptions.runAsUserName: Invalid value: `
	runMutations(t, []mutation{
		on("pod", "windows", bare(named("windows"), account(`CORP\web`)), ""),
		on("pod", "another", bare(named("plan9")), `spec.os: Unsupported value: "plan9"`),
		on("pod", "no name", bare(named("")), "spec.os.name: Required value"),
		on("pod", "options of linux", bare(named("linux"), account("web")), "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"),
		on("pod", "user of windows", bare(named("windows"), func(o podT) { o.Spec.SecurityContext.RunAsUser = ptr.To[int64](1) }), "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod"),
		on("pod", "hostPID of windows", bare(named("windows"), func(o podT) { o.Spec.HostPID = true }), "spec.hostPID: Forbidden: cannot be set for a windows pod"),
		on("pod", "privileged of windows", bare(named("windows"), func(o podT) { container(o).SecurityContext.Privileged = ptr.To(true) }), "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod"),
		on("pod", "empty account", bare(account("")), refused+`"": runAsUserName cannot be an empty string`),
		on("pod", "two domains", bare(account(`a\b\c`)), refused+`"a\\b\\c": runAsUserName cannot contain more than one backslash`),
		on("pod", "account without a user", bare(account(`CORP\`)), refused+`"CORP\\": runAsUserName's User cannot be empty`),
		on("pod", "account of dots", bare(account("...")), refused+`"...": runAsUserName's User cannot contain only periods or spaces`),
		on("pod", "account with a star", bare(account("w*b")), refused+`"w*b": runAsUserName's User cannot contain the following characters`),
		on("pod", "domain", bare(account(`.x y\web`)), refused+`".x y\\web": runAsUserName's Domain doesn't match the NetBios nor the DNS format`),
		on("pod", "empty credentials", bare(options(corev1.WindowsSecurityContextOptions{GMSACredentialSpec: ptr.To("")})), `spec.securityContext.windowsOptions.gmsaCredentialSpec: Invalid value: "": gmsaCredentialSpec cannot be an empty string`),
		on("pod", "host process without the host's network", bare(options(corev1.WindowsSecurityContextOptions{HostProcess: ptr.To(true)})), "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers"),
		on("pod", "host process", bare(options(corev1.WindowsSecurityContextOptions{HostProcess: ptr.To(true)}), func(o podT) { o.Spec.HostNetwork = true }), ""),
		on("pod", "host process of one", bare(options(corev1.WindowsSecurityContextOptions{HostProcess: ptr.To(true)}), func(o podT) {
			o.Spec.HostNetwork = true
			container(o).SecurityContext.WindowsOptions = &corev1.WindowsSecurityContextOptions{HostProcess: ptr.To(false)}
		}), "spec.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be identical if both are specified, was true"),
	})
}
