package kinds

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func nodeColumns() []column {
	info := corev1.NodeSystemInfo{}.SwaggerDoc()
	return append([]column{
		nameColumn(), str("Status", "The status of the node"), str("Roles", "The roles of the node"), ageColumn(),
		str("Version", info["kubeletVersion"]),
	}, wide(
		str("Internal-IP", corev1.NodeStatus{}.SwaggerDoc()["addresses"]),
		str("External-IP", corev1.NodeStatus{}.SwaggerDoc()["addresses"]),
		str("OS-Image", info["osImage"]), str("Kernel-Version", info["kernelVersion"]),
		str("Container-Runtime", info["containerRuntimeVersion"]),
	)...)
}

func nodeRow(o *corev1.Node, now time.Time) []any {
	info := &o.Status.NodeInfo
	return []any{
		o.Name, nodeStatusText(o), orNone(strings.Join(nodeRoles(o), ",")), age(o, now), info.KubeletVersion,
		nodeAddress(o, corev1.NodeInternalIP), nodeAddress(o, corev1.NodeExternalIP),
		orUnknown(info.OSImage), kernelText(info), orUnknown(info.ContainerRuntimeVersion),
	}
}

func kernelText(info *corev1.NodeSystemInfo) string {
	if info.Architecture == "" {
		return orUnknown(info.KernelVersion)
	}
	return orUnknown(info.KernelVersion) + " (" + info.Architecture + ")"
}

func nodeStatusText(o *corev1.Node) string {
	status := "Unknown"
	for _, c := range o.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if status = "NotReady"; c.Status == corev1.ConditionTrue {
			status = "Ready"
		}
	}
	if o.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// nodeRoles reads both label conventions: node-role.kubernetes.io/ROLE and
// kubernetes.io/role=ROLE.
func nodeRoles(o *corev1.Node) []string {
	var roles []string
	for k, v := range o.Labels {
		if role, ok := strings.CutPrefix(k, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		} else if k == "kubernetes.io/role" && v != "" {
			roles = append(roles, v)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

func nodeAddress(o *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range o.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return none
}
