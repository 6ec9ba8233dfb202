package core

import (
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
)

// score is a plug-in that says how good a node is for a pod, from 0 to 100.
// Looking at one node only, it needs no normalising over all of them, and that
// is what lets rankings be kept.
type score struct {
	name   string
	weight int64
	of     func(p *Pod, n *Node) int64
}

var scores = []score{
	{"TaintToleration", 3, fewTaints},
	{"NodeAffinity", 2, preferredNodes},
	{"NodeResourcesFit", 1, leastAllocated},
	{"NodeResourcesBalancedAllocation", 1, balanced},
	{"ImageLocality", 1, imagesPresent},
}

func (r *profile) rate(p *Pod, n *Node) int64 {
	var sum int64
	for i := range r.scores {
		sum += r.scores[i].weight * r.scores[i].of(p, n)
	}
	return sum
}

// leastAllocated prefers nodes with much left of cpu and memory.
func leastAllocated(p *Pod, n *Node) int64 {
	free := func(used, offered int64) int64 {
		if offered <= 0 || used > offered {
			return 0
		}
		return (offered - used) * 100 / offered
	}
	return (free(n.assumedCPU+p.assumedCPU, n.Allocatable.MilliCPU) + free(n.assumedMemory+p.assumedMemory, n.Allocatable.Memory)) / 2
}

// balanced prefers nodes whose cpu and memory run out together.
func balanced(p *Pod, n *Node) int64 {
	share := func(used, offered int64) int64 {
		if offered <= 0 {
			return 1000
		}
		return min(used*1000/offered, 1000)
	}
	cpu := share(n.Used.MilliCPU+p.Requests.MilliCPU, n.Allocatable.MilliCPU)
	memory := share(n.Used.Memory+p.Requests.Memory, n.Allocatable.Memory)
	return 100 - max(cpu-memory, memory-cpu)/20
}

// fewTaints avoids nodes whose soft taints the pod does not tolerate.
func fewTaints(p *Pod, n *Node) int64 {
	var untolerated int64
	for i := range n.Object.Spec.Taints {
		taint := &n.Object.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule && !schedulingv1.TolerationsTolerateTaint(klog.Logger{}, p.Object.Spec.Tolerations, taint, false) {
			untolerated++
		}
	}
	return 100 / (1 + untolerated)
}

// preferredNodes is the share of the pod's wishes that the node grants.
func preferredNodes(p *Pod, n *Node) int64 {
	if p.preferredTotal == 0 {
		return 0
	}
	var granted int64
	for _, wish := range p.preferred {
		if wish.terms.Match(n.Object) {
			granted += wish.weight
		}
	}
	return granted * 100 / p.preferredTotal
}

// Image sizes below the first make no difference, above the second no more.
const (
	smallImage = 23 << 20
	largeImage = 1000 << 20
)

// imagesPresent prefers nodes that need not pull much.
func imagesPresent(p *Pod, n *Node) int64 {
	if len(n.images) == 0 {
		return 0
	}
	var present int64
	for _, image := range p.images {
		present += n.images[normalizedImage(image)]
	}
	ceiling := int64(largeImage) * int64(len(p.images))
	present = min(max(present, smallImage), ceiling)
	return (present - smallImage) * 100 / max(ceiling-smallImage, 1)
}
