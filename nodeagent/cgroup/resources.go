package cgroup

import (
	corev1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/resource"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/status"
)

const (
	// period of CPU quotas, in microseconds.
	period = 100_000
	// minQuota is the smallest quota that the kernel takes.
	minQuota = 1_000
	// Shares are 1024 for a CPU and within what the kernel takes.
	minShares, maxShares = 2, 262_144
)

// Container are a container's limits. A limit of cpu without a request counts
// as the request.
func Container(c *corev1.Container) runtime.Resources {
	request, ok := c.Resources.Requests[corev1.ResourceCPU]
	if !ok {
		request = c.Resources.Limits[corev1.ResourceCPU]
	}
	r := runtime.Resources{CPUShares: shares(request.MilliValue())}
	if limit, ok := c.Resources.Limits[corev1.ResourceCPU]; ok && !limit.IsZero() {
		r.CPUQuota, r.CPUPeriod = quota(limit.MilliValue()), period
	}
	if limit, ok := c.Resources.Limits[corev1.ResourceMemory]; ok {
		r.MemoryLimit = limit.Value()
	}
	return r
}

// Pod are the limits of a pod as a whole: its requests in sum, and its limits
// where all of its containers have one.
func Pod(pod *corev1.Pod) runtime.Resources {
	requests := helper.PodRequests(pod, helper.PodResourcesOptions{})
	cpu := requests[corev1.ResourceCPU]
	r := runtime.Resources{CPUShares: shares(cpu.MilliValue())}
	limits := helper.PodLimits(pod, helper.PodResourcesOptions{})
	if limit, ok := limits[corev1.ResourceCPU]; ok && all(pod, corev1.ResourceCPU) {
		r.CPUQuota, r.CPUPeriod = quota(limit.MilliValue()), period
	}
	if limit, ok := limits[corev1.ResourceMemory]; ok && all(pod, corev1.ResourceMemory) {
		r.MemoryLimit = limit.Value()
	}
	return r
}

// all tells whether every container has a limit of the resource.
func all(pod *corev1.Pod, name corev1.ResourceName) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if q, ok := list[i].Resources.Limits[name]; !ok || q.IsZero() {
				return false
			}
		}
	}
	return true
}

func shares(milli int64) int64 {
	if milli <= 0 {
		return minShares
	}
	return min(max(milli*1024/1000, minShares), maxShares)
}

func quota(milli int64) int64 { return max(milli*period/1000, minQuota) }

// OOMScoreAdj is how early the kernel kills a container when memory runs out:
// guaranteed pods last, best effort first, between them the less a container
// has asked for of the node's memory the earlier.
func OOMScoreAdj(pod *corev1.Pod, c *corev1.Container, nodeMemory int64) int {
	switch status.QOSClass(pod) {
	case corev1.PodQOSGuaranteed:
		return -997
	case corev1.PodQOSBestEffort:
		return 1000
	case corev1.PodQOSBurstable:
	}
	if nodeMemory <= 0 {
		return 999
	}
	request := c.Resources.Requests[corev1.ResourceMemory]
	adjust := 1000 - 1000*request.Value()/nodeMemory
	return int(min(max(adjust, 3), 999))
}
