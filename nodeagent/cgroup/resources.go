package cgroup

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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
	r.HugePages = hugePages(c.Resources.Limits)
	return r
}

// hugePages are the limits of huge pages by the kernel's names of their sizes.
func hugePages(limits corev1.ResourceList) map[string]int64 {
	var all map[string]int64
	for name, q := range limits {
		text, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
		if !ok {
			continue
		}
		size, err := resource.ParseQuantity(text)
		if err != nil {
			continue // not a size that validation lets through
		}
		if all == nil {
			all = map[string]int64{}
		}
		all[pageSize(size.Value())] = q.Value()
	}
	return all
}

// pageSize is a size in the kernel's words: 2097152 is "2MB".
func pageSize(bytes int64) string {
	units := []string{"B", "KB", "MB", "GB"}
	i := 0
	for ; bytes >= 1024 && bytes%1024 == 0 && i < len(units)-1; i++ {
		bytes /= 1024
	}
	return strconv.FormatInt(bytes, 10) + units[i]
}

// Pod are the limits of a pod as a whole: its own, or its containers' requests
// in sum and their limits where all of them have one; its overhead on top.
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
	r.HugePages = hugePages(limits)
	return r
}

// all tells whether the pod or every container of it has a limit of the resource.
func all(pod *corev1.Pod, name corev1.ResourceName) bool {
	if r := pod.Spec.Resources; r != nil {
		if q, ok := r.Limits[name]; ok && !q.IsZero() {
			return true
		}
	}
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
	adjust := 1000 - 1000*memoryShare(pod, c)/nodeMemory
	return int(min(max(adjust, 3), 999))
}

// memoryShare is what a container has asked for of memory. Of what the pod as
// a whole asks for beyond its containers each has an equal share (KEP-2837).
func memoryShare(pod *corev1.Pod, c *corev1.Container) int64 {
	request := c.Resources.Requests[corev1.ResourceMemory]
	own := request.Value()
	if pod.Spec.Resources == nil {
		return own
	}
	whole, ok := pod.Spec.Resources.Requests[corev1.ResourceMemory]
	if !ok {
		return own
	}
	asked := helper.AggregateContainerRequests(pod, helper.PodResourcesOptions{})[corev1.ResourceMemory]
	containers := int64(len(pod.Spec.Containers))
	for i := range pod.Spec.InitContainers {
		if status.Restartable(&pod.Spec.InitContainers[i]) {
			containers++
		}
	}
	return own + max(whole.Value()-asked.Value(), 0)/max(containers, 1)
}
