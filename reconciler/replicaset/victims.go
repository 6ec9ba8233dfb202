package replicaset

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/reconciler/podstate"
)

// Victims picks the n pods whose loss hurts least, in the order in which they
// are to go. perNode says how many pods of the same set of work (all
// ReplicaSets of one Deployment) run on each node.
func Victims(pods []*corev1.Pod, n int, perNode map[string]int, now time.Time) []*corev1.Pod {
	if n >= len(pods) {
		return pods
	}
	return Ranked(pods, perNode, now)[:max(n, 0)]
}

// Ranked returns the pods in the order in which they are to go.
func Ranked(pods []*corev1.Pod, perNode map[string]int, now time.Time) []*corev1.Pod {
	ranked := slices.Clone(pods)
	slices.SortStableFunc(ranked, func(a, b *corev1.Pod) int { return compare(a, b, perNode, now) })
	return ranked
}

// compare is negative when a is to go before b.
func compare(a, b *corev1.Pod, perNode map[string]int, now time.Time) int {
	return cmp.Or(
		falseFirst(a.Spec.NodeName != "", b.Spec.NodeName != ""),
		cmp.Compare(phaseRank(a), phaseRank(b)),
		falseFirst(podstate.IsReady(a), podstate.IsReady(b)),
		cmp.Compare(deletionCost(a), deletionCost(b)),
		cmp.Compare(perNode[b.Spec.NodeName], perNode[a.Spec.NodeName]), // crowded nodes first
		ageRank(readySince(a), readySince(b), now),
		cmp.Compare(restarts(b), restarts(a)), // often restarted first
		ageRank(a.CreationTimestamp.Time, b.CreationTimestamp.Time, now),
		cmp.Compare(a.UID, b.UID),
	)
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case !a:
		return -1
	}
	return 1
}

func phaseRank(p *corev1.Pod) int {
	switch p.Status.Phase {
	case corev1.PodRunning:
		return 2
	case corev1.PodUnknown:
		return 1
	}
	return 0
}

func deletionCost(p *corev1.Pod) int64 {
	cost, err := strconv.ParseInt(p.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0 // validation refuses other values; an old one counts as none
	}
	return cost
}

func readySince(p *corev1.Pod) time.Time {
	if c := podstate.Condition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

// ageRank puts the younger first, but compares ages by their order of
// magnitude so that pods of about the same age are picked at random.
func ageRank(a, b time.Time, now time.Time) int {
	return cmp.Compare(magnitude(a, now), magnitude(b, now))
}

func magnitude(t, now time.Time) int {
	if t.IsZero() {
		return 0
	}
	return int(math.Log2(max(now.Sub(t).Seconds(), 1))) + 1
}

func restarts(p *corev1.Pod) int32 {
	var most int32
	for _, s := range p.Status.ContainerStatuses {
		most = max(most, s.RestartCount)
	}
	return most
}
