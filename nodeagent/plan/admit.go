package plan

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/headway-sh/headway/nodeagent/status"
)

// Node is what a new pod is admitted against.
type Node struct {
	// Allocatable and Labels are the Node's; nil admits everything.
	Allocatable corev1.ResourceList
	Labels      map[string]string
	// Sysctls are patterns of unsafe kernel parameters that pods may set.
	Sysctls []string
	// Pods run on the node or are about to.
	Pods []*corev1.Pod
}

// Admit tells why a pod bound to the node cannot run there, or nil.
func Admit(pod *corev1.Pod, node Node) *status.Failure {
	if pod.Spec.OS != nil && pod.Spec.OS.Name != corev1.Linux {
		return &status.Failure{Reason: "PodOSNotSupported", Message: "Failed to admit pod as the OS field doesn't match node OS"}
	}
	if failure := sysctls(pod, node.Sysctls); failure != nil {
		return failure
	}
	if node.Labels != nil && !fits(pod, node.Labels) {
		return &status.Failure{Reason: "NodeAffinity", Message: "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"}
	}
	if p, taken := taken(pod, node.Pods); taken {
		return &status.Failure{Reason: "NodePorts", Message: fmt.Sprintf("Pod was rejected: Predicate NodePorts failed: host port %d/%s is in use", p.HostPort, p.Protocol)}
	}
	return room(pod, node)
}

func fits(pod *corev1.Pod, labels map[string]string) bool {
	node := &corev1.Node{}
	node.Labels, node.Name = labels, pod.Spec.NodeName
	ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node)
	return ok && err == nil
}

// Resize tells why a running pod cannot have the resources that its spec asks
// for by now, or nil. node leaves the pod itself out.
func Resize(pod *corev1.Pod, node Node) *status.Resize {
	if f := room(pod, Node{Allocatable: node.Allocatable}); f != nil {
		return &status.Resize{Reason: corev1.PodReasonInfeasible, Message: strings.Replace(f.Message, "Pod was rejected: ", "", 1)}
	}
	if f := room(pod, node); f != nil {
		return &status.Resize{Reason: corev1.PodReasonDeferred, Message: strings.Replace(f.Message, "Pod was rejected: ", "", 1)}
	}
	return nil
}

// room compares requests with what the others leave.
func room(pod *corev1.Pod, node Node) *status.Failure {
	if node.Allocatable == nil {
		return nil
	}
	wanted := resource.PodRequests(pod, resource.PodResourcesOptions{})
	wanted[corev1.ResourcePods] = one
	used := corev1.ResourceList{}
	for _, p := range node.Pods {
		requests := resource.PodRequests(p, resource.PodResourcesOptions{})
		requests[corev1.ResourcePods] = one
		for name, q := range requests {
			sum := used[name]
			sum.Add(q)
			used[name] = sum
		}
	}
	names := make([]corev1.ResourceName, 0, len(wanted))
	for name := range wanted {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		want, in, has := wanted[name], used[name], node.Allocatable[name]
		if want.IsZero() {
			continue
		}
		sum := want.DeepCopy()
		sum.Add(in)
		if sum.Cmp(has) > 0 {
			return &status.Failure{Reason: "OutOf" + string(name), Message: fmt.Sprintf(
				"Pod was rejected: Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
				name, units(name, want), units(name, in), units(name, has))}
		}
	}
	return nil
}

// taken finds a host port of pod that another has.
func taken(pod *corev1.Pod, others []*corev1.Pod) (corev1.ContainerPort, bool) {
	type port struct {
		number   int32
		protocol corev1.Protocol
	}
	used := map[port][]string{}
	for _, p := range others {
		for _, cp := range hostPorts(p) {
			key := port{cp.HostPort, cp.Protocol}
			used[key] = append(used[key], cp.HostIP)
		}
	}
	for _, cp := range hostPorts(pod) {
		for _, ip := range used[port{cp.HostPort, cp.Protocol}] {
			if ip == cp.HostIP || anyIP(ip) || anyIP(cp.HostIP) {
				return cp, true
			}
		}
	}
	return corev1.ContainerPort{}, false
}

func hostPorts(pod *corev1.Pod) (all []corev1.ContainerPort) {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				if p.Protocol == "" {
					p.Protocol = corev1.ProtocolTCP
				}
				all = append(all, p)
			}
		}
	}
	return all
}

func anyIP(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
