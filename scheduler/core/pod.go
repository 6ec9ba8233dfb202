package core

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// What a pod that asks for nothing is assumed to use when nodes are compared.
const (
	assumedMilliCPU = 100
	assumedMemory   = 200 << 20
)

// Resources are amounts that nodes offer and pods ask for. Immutable.
type Resources struct {
	MilliCPU, Memory, Ephemeral int64
	// Scalar are the extended ones; nil when there are none.
	Scalar map[corev1.ResourceName]int64
}

func resourcesOf(list corev1.ResourceList) Resources {
	var r Resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.Ephemeral = q.Value()
		case corev1.ResourcePods:
		default:
			if r.Scalar == nil {
				r.Scalar = map[corev1.ResourceName]int64{}
			}
			r.Scalar[name] = q.Value()
		}
	}
	return r
}

// HostPort is a port of the node that a pod takes.
type HostPort struct {
	Protocol corev1.Protocol
	IP       string
	Port     int32
}

// Pod is a pod as decisions see it. Immutable.
type Pod struct {
	// Object is the shared API object.
	Object   *corev1.Pod
	UID      types.UID
	Priority int32
	Requests Resources
	// Class is equal for pods that are alike in all that filters and scores ask
	// of nodes, and that look at the same other pods.
	Class string
	// Owner is the controller's uid, by which like pods are spread.
	Owner types.UID
	Ports []HostPort

	assumedCPU, assumedMemory int64
	required                  nodeaffinity.RequiredNodeAffinity
	selective                 bool // required says something
	preferred                 []preference
	preferredTotal            int64
	images                    []string
	spread                    []spreadConstraint
	affinity, antiAffinity    []term
	softAffinity              []weightedTerm
	// carries are the terms as they count for others.
	carries []carriedTerm
	claims  []claimRef
	// scalars are the names in Requests.Scalar, sorted.
	scalars []corev1.ResourceName
	group   string
	hash    uint64
}

type preference struct {
	weight int64
	terms  *nodeaffinity.NodeSelector
}

// NewPod prepares a pod. An affinity or selector that cannot be parsed is an
// error; validation refuses it, so that it is rare.
func NewPod(o *corev1.Pod) (*Pod, error) {
	p := &Pod{
		Object: o, UID: o.UID, Priority: schedulingv1.PodPriority(o),
		Requests: resourcesOf(resource.PodRequests(o, resource.PodResourcesOptions{UseStatusResources: true})),
		required: nodeaffinity.GetRequiredNodeAffinity(o),
	}
	p.assumedCPU, p.assumedMemory = p.Requests.MilliCPU, p.Requests.Memory
	if p.assumedCPU == 0 {
		p.assumedCPU = assumedMilliCPU
	}
	if p.assumedMemory == 0 {
		p.assumedMemory = assumedMemory
	}
	if owner := metav1.GetControllerOf(o); owner != nil {
		p.Owner = owner.UID
	}
	for _, c := range o.Spec.Containers {
		p.images = append(p.images, c.Image)
		for _, port := range c.Ports {
			if port.HostPort > 0 {
				p.Ports = append(p.Ports, hostPort(port))
			}
		}
	}
	if err := p.parseAffinity(); err != nil {
		return nil, fmt.Errorf("pod %s/%s: %w", o.Namespace, o.Name, err)
	}
	p.claims = claimsOf(o)
	p.scalars = slices.Sorted(maps.Keys(p.Requests.Scalar))
	p.group = p.groupKey()
	p.Class = p.class()
	p.hash = fnv(p.Class)
	return p, nil
}

func hostPort(port corev1.ContainerPort) HostPort {
	h := HostPort{Protocol: port.Protocol, IP: port.HostIP, Port: port.HostPort}
	if h.Protocol == "" {
		h.Protocol = corev1.ProtocolTCP
	}
	if h.IP == "" {
		h.IP = "0.0.0.0"
	}
	return h
}

func (p *Pod) parseAffinity() error {
	spec := &p.Object.Spec
	p.selective = len(spec.NodeSelector) > 0
	if a := spec.Affinity; a != nil && a.NodeAffinity != nil {
		p.selective = p.selective || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
	}
	if err := p.spreadConstraints(); err != nil {
		return err
	}
	if spec.Affinity == nil {
		return nil
	}
	if node := spec.Affinity.NodeAffinity; node != nil {
		for _, term := range node.PreferredDuringSchedulingIgnoredDuringExecution {
			terms, err := nodeaffinity.NewNodeSelector(&corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term.Preference}})
			if err != nil {
				return fmt.Errorf("preferred node affinity: %w", err)
			}
			p.preferred = append(p.preferred, preference{int64(term.Weight), terms})
			p.preferredTotal += int64(term.Weight)
		}
	}
	return p.parsePodAffinity(spec.Affinity)
}

// class writes down what makes a Class: texts with their length before them,
// and a bar between sections, so that no two pods read alike that are not.
func (p *Pod) class() string {
	spec := &p.Object.Spec
	b := make([]byte, 0, 256)
	text := func(s string) { b = append(append(strconv.AppendInt(b, int64(len(s)), 10), ':'), s...) }
	number := func(n int64) { b = append(strconv.AppendInt(b, n, 36), ' ') }
	text(spec.SchedulerName)
	text(spec.NodeName)
	number(p.Requests.MilliCPU)
	number(p.Requests.Memory)
	number(p.Requests.Ephemeral)
	for _, name := range p.scalars {
		text(string(name))
		number(p.Requests.Scalar[name])
	}
	b = append(b, '|')
	for _, key := range slices.Sorted(maps.Keys(spec.NodeSelector)) {
		text(key)
		text(spec.NodeSelector[key])
	}
	b = append(b, '|')
	for _, t := range spec.Tolerations {
		text(t.Key)
		text(string(t.Operator))
		text(t.Value)
		text(string(t.Effect))
	}
	b = append(b, '|')
	for _, h := range p.Ports {
		text(string(h.Protocol))
		text(h.IP)
		number(int64(h.Port))
	}
	b = append(b, '|')
	for _, image := range p.images {
		text(image)
	}
	b = append(b, '|')
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil {
		affinity, err := json.Marshal(spec.Affinity.NodeAffinity)
		if err != nil {
			affinity = []byte(p.UID) // alike with nobody
		}
		text(string(affinity))
	}
	b = append(b, '|')
	for i := range p.spread {
		c := &p.spread[i]
		text(c.countsKey)
		text(c.key)
		number(int64(c.maxSkew))
		number(int64(c.minDomains))
		b = strconv.AppendBool(strconv.AppendBool(b, c.hard), c.lenient)
	}
	for _, terms := range [][]term{p.affinity, p.antiAffinity} {
		b = append(b, '|')
		for i := range terms {
			text(terms[i].key)
		}
	}
	b = append(b, '|')
	for i := range p.softAffinity {
		text(p.softAffinity[i].key)
	}
	return string(b)
}

// going tells whether the pod's end has begun.
func (p *Pod) going() bool { return p.Object.DeletionTimestamp != nil }

// labelSet of the pod.
func (p *Pod) labelSet() labels.Set { return p.Object.Labels }
