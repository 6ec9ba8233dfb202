package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node is a node with what its pods use. It belongs to a State.
type Node struct {
	Name string
	// Object is nil while only pods are known that name the node.
	Object      *corev1.Node
	Allocatable Resources
	// AllowedPods is how many pods fit.
	AllowedPods int64
	Used        Resources
	Pods        map[types.UID]*Pod

	assumedCPU, assumedMemory int64
	ports                     map[HostPort]int
	images                    map[string]int64
	hash                      uint64
}

func newNode(name string) *Node {
	return &Node{
		Name: name, Pods: map[types.UID]*Pod{}, ports: map[HostPort]int{}, hash: fnv(name),
	}
}

func (n *Node) set(o *corev1.Node) {
	n.Object = o
	n.Allocatable = resourcesOf(o.Status.Allocatable)
	n.AllowedPods = o.Status.Allocatable.Pods().Value()
	n.images = map[string]int64{}
	for _, image := range o.Status.Images {
		for _, name := range image.Names {
			n.images[normalizedImage(name)] = image.SizeBytes
		}
	}
}

func (n *Node) add(p *Pod) {
	n.Pods[p.UID] = p
	n.account(p, 1)
}

func (n *Node) remove(p *Pod) {
	delete(n.Pods, p.UID)
	n.account(p, -1)
}

func (n *Node) account(p *Pod, sign int64) {
	n.Used.MilliCPU += sign * p.Requests.MilliCPU
	n.Used.Memory += sign * p.Requests.Memory
	n.Used.Ephemeral += sign * p.Requests.Ephemeral
	n.assumedCPU += sign * p.assumedCPU
	n.assumedMemory += sign * p.assumedMemory
	for name, amount := range p.Requests.Scalar {
		if n.Used.Scalar == nil {
			n.Used.Scalar = map[corev1.ResourceName]int64{}
		}
		n.Used.Scalar[name] += sign * amount
	}
	for _, port := range p.Ports {
		if n.ports[port] += int(sign); n.ports[port] == 0 {
			delete(n.ports, port)
		}
	}
}

// normalizedImage gives untagged names their tag, so that a pod's name finds
// the node's.
func normalizedImage(name string) string {
	if strings.LastIndexByte(name, ':') <= strings.LastIndexByte(name, '/') {
		return name + ":latest"
	}
	return name
}

// fnv is the 64-bit FNV-1a hash, the same in every process.
func fnv(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix orders nodes of equal score by the seed, so that not every pod of every
// class goes to the first of them.
func mix(seed, class, node uint64) uint64 {
	h := seed ^ class*0x9e3779b97f4a7c15 ^ node
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
