package core

import (
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
)

// Change is a set of kinds of cluster changes; it says which of them may help
// a pod that could not be placed.
type Change uint8

const (
	// NodeAdded is a node that is new: it may help anybody.
	NodeAdded Change = 1 << iota
	// NodeLabelled is other labels of a node.
	NodeLabelled
	// NodeTainted is other taints of a node, or that it is no longer cordoned.
	NodeTainted
	// NodeGrown is another capacity of a node.
	NodeGrown
	// PodGone is a pod that has left its node, or a promise taken back.
	PodGone
	// PodPlaced is a pod that is new on a node, or has other labels.
	PodPlaced
	// StorageChanged is a claim, volume, class or driver that has changed.
	StorageChanged
)

// filter is a plug-in that decides from one pod and one node whether they fit.
type filter struct {
	name string
	// check appends why not; nothing when the node passes.
	check func(p *Pod, n *Node, reasons []string) []string
	// helps are the changes after which the answer may be another.
	helps Change
}

// filters are asked in this order, the cheap ones first; the first that
// refuses a node gives the reasons.
var filters = []filter{
	{"NodeUnschedulable", unschedulable, NodeTainted},
	{"NodeName", nodeName, NodeAdded},
	{"TaintToleration", taints, NodeTainted},
	{"NodeAffinity", nodeAffinity, NodeLabelled},
	{"NodePorts", nodePorts, PodGone},
	{"NodeResourcesFit", fit, PodGone | NodeGrown},
}

func unschedulable(p *Pod, n *Node, reasons []string) []string {
	if !n.Object.Spec.Unschedulable {
		return reasons
	}
	taint := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if schedulingv1.TolerationsTolerateTaint(klog.Logger{}, p.Object.Spec.Tolerations, &taint, false) {
		return reasons
	}
	return append(reasons, "node(s) were unschedulable")
}

func nodeName(p *Pod, n *Node, reasons []string) []string {
	if want := p.Object.Spec.NodeName; want != "" && want != n.Name {
		return append(reasons, "node(s) didn't match the requested node name")
	}
	return reasons
}

func taints(p *Pod, n *Node, reasons []string) []string {
	for i := range n.Object.Spec.Taints {
		taint := &n.Object.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule {
			continue
		}
		if !schedulingv1.TolerationsTolerateTaint(klog.Logger{}, p.Object.Spec.Tolerations, taint, false) {
			return append(reasons, "node(s) had untolerated taint(s)")
		}
	}
	return reasons
}

func nodeAffinity(p *Pod, n *Node, reasons []string) []string {
	if !p.selective {
		return reasons
	}
	if ok, err := p.required.Match(n.Object); !ok || err != nil {
		return append(reasons, "node(s) didn't match Pod's node affinity/selector")
	}
	return reasons
}

func nodePorts(p *Pod, n *Node, reasons []string) []string {
	for _, port := range p.Ports {
		if n.portTaken(port) {
			return append(reasons, "node(s) didn't have free ports for the requested pod ports")
		}
	}
	return reasons
}

// portTaken: the wildcard address collides with every address.
func (n *Node) portTaken(want HostPort) bool {
	if want.IP != "0.0.0.0" {
		wild := want
		wild.IP = "0.0.0.0"
		return n.ports[want] > 0 || n.ports[wild] > 0
	}
	for have := range n.ports {
		if have.Port == want.Port && have.Protocol == want.Protocol {
			return true
		}
	}
	return false
}

func fit(p *Pod, n *Node, reasons []string) []string { return fitOf(p, n, nil, reasons) }

// fitBut is fit without some extended resources.
func fitBut(ignored map[corev1.ResourceName]bool) func(p *Pod, n *Node, reasons []string) []string {
	return func(p *Pod, n *Node, reasons []string) []string { return fitOf(p, n, ignored, reasons) }
}

func fitOf(p *Pod, n *Node, ignored map[corev1.ResourceName]bool, reasons []string) []string {
	if int64(len(n.Pods))+1 > n.AllowedPods {
		reasons = append(reasons, "Too many pods")
	}
	lacks := func(asked, used, offered int64) bool { return asked > 0 && asked > offered-used }
	if lacks(p.Requests.MilliCPU, n.Used.MilliCPU, n.Allocatable.MilliCPU) {
		reasons = append(reasons, "Insufficient cpu")
	}
	if lacks(p.Requests.Memory, n.Used.Memory, n.Allocatable.Memory) {
		reasons = append(reasons, "Insufficient memory")
	}
	if lacks(p.Requests.Ephemeral, n.Used.Ephemeral, n.Allocatable.Ephemeral) {
		reasons = append(reasons, "Insufficient ephemeral-storage")
	}
	for _, name := range p.scalars {
		if !ignored[name] && lacks(p.Requests.Scalar[name], n.Used.Scalar[name], n.Allocatable.Scalar[name]) {
			reasons = append(reasons, "Insufficient "+string(name))
		}
	}
	return reasons
}
