package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	helper "k8s.io/component-helpers/resource"
)

// podNames are the quantities about pods that have fixed names.
var podNames = map[corev1.ResourceName]bool{
	corev1.ResourcePods:          true,
	corev1.ResourceCPU:           true,
	corev1.ResourceMemory:        true,
	"ephemeral-storage":          true,
	"requests.cpu":               true,
	"requests.memory":            true,
	"limits.cpu":                 true,
	"limits.memory":              true,
	"limits.ephemeral-storage":   true,
	"requests.ephemeral-storage": true,
}

func podName(name corev1.ResourceName) bool {
	request, isRequest := strings.CutPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
	switch {
	case podNames[name], strings.HasPrefix(request, corev1.ResourceHugePagesPrefix):
		return true
	case strings.HasSuffix(string(name), classSuffix+string(corev1.ResourceRequestsStorage)), strings.HasPrefix(string(name), "count/"):
		return false
	}
	return isRequest && strings.Contains(request, "/") // an extended resource
}

// Running tells whether a pod still uses what it asked for: it has not ended,
// and is not stuck in termination on a node that may be lost.
func Running(pod *corev1.Pod, now time.Time) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return false
	}
	given, stuck := Released(pod)
	return !given || !now.After(stuck)
}

// Released is when a pod that is being deleted stops to count although it is
// still there.
func Released(pod *corev1.Pod) (terminating bool, at time.Time) {
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return false, time.Time{}
	}
	return true, pod.DeletionTimestamp.Add(time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second)
}

func podUsage(o runtime.Object, now time.Time) corev1.ResourceList {
	pod := o.(*corev1.Pod)
	if !Running(pod, now) {
		return nil
	}
	options := helper.PodResourcesOptions{UseStatusResources: true}
	used := corev1.ResourceList{corev1.ResourcePods: number(1)}
	for name, q := range helper.PodRequests(pod, options) {
		used["requests."+name] = q
		switch {
		case podNames[name], strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			used[name] = q
		}
	}
	for name, q := range helper.PodLimits(pod, options) {
		used["limits."+name] = q
	}
	return used
}

// obliged are the quantities that every container must state when a quota
// limits them.
var obliged = map[corev1.ResourceName]func(r *corev1.ResourceRequirements) (corev1.ResourceList, corev1.ResourceName){
	corev1.ResourceCPU:            requests(corev1.ResourceCPU),
	corev1.ResourceRequestsCPU:    requests(corev1.ResourceCPU),
	corev1.ResourceMemory:         requests(corev1.ResourceMemory),
	corev1.ResourceRequestsMemory: requests(corev1.ResourceMemory),
	corev1.ResourceLimitsCPU:      limits(corev1.ResourceCPU),
	corev1.ResourceLimitsMemory:   limits(corev1.ResourceMemory),
}

func requests(name corev1.ResourceName) func(*corev1.ResourceRequirements) (corev1.ResourceList, corev1.ResourceName) {
	return func(r *corev1.ResourceRequirements) (corev1.ResourceList, corev1.ResourceName) {
		return r.Requests, name
	}
}

func limits(name corev1.ResourceName) func(*corev1.ResourceRequirements) (corev1.ResourceList, corev1.ResourceName) {
	return func(r *corev1.ResourceRequirements) (corev1.ResourceList, corev1.ResourceName) { return r.Limits, name }
}

// Unstated refuses a pod with containers that do not say how much they want of
// cpu or memory although the quota limits it. What is said for the pod as a
// whole is enough.
func Unstated(q *corev1.ResourceQuota, pod *corev1.Pod) error {
	if helper.IsPodLevelResourcesSet(pod) {
		return nil
	}
	lacking := map[corev1.ResourceName][]string{}
	for name := range q.Spec.Hard {
		of, ok := obliged[name]
		if !ok {
			continue
		}
		for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
			list, key := of(&c.Resources)
			if _, stated := list[key]; !stated {
				lacking[name] = append(lacking[name], c.Name)
			}
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(lacking)) {
		slices.Sort(lacking[name])
		parts = append(parts, fmt.Sprintf("%s for: %s", name, strings.Join(lacking[name], ",")))
	}
	return fmt.Errorf("failed quota: %s: must specify %s", q.Name, strings.Join(parts, "; "))
}
