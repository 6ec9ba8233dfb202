// Package shutdown says in which order a node's pods end when its machine goes
// down: ordinary ones first, then those that others may need to the last, each
// group within its part of the time.
package shutdown

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/eviction"
)

const (
	// Reason and Message are what the status of a pod says that has ended so.
	Reason  = "Terminated"
	Message = "Pod was terminated in response to imminent node shutdown."
	// Rejected and RejectedMessage are those of a pod that came too late.
	Rejected        = "NodeShutdown"
	RejectedMessage = "Pod was rejected as the node is shutting down."
)

// Periods are how long pods have in all, and how much of it critical ones have
// for themselves at the end.
type Periods struct{ Total, Critical time.Duration }

// Default is what a machine has that says nothing else.
var Default = Periods{Total: 30 * time.Second, Critical: 10 * time.Second}

// Validate tells what is wrong with periods.
func (p Periods) Validate() error {
	if p.Critical < 0 || p.Total < p.Critical {
		return errors.New("the shutdown's grace period of critical pods has to be a part of that of all")
	}
	return nil
}

// Group are pods that end side by side, within a period.
type Group struct {
	Period time.Duration
	Pods   []*corev1.Pod
}

// Order gives the groups, first to end first; one without pods is left out, and
// its time is the next one's.
func Order(pods []*corev1.Pod, p Periods) []Group {
	groups := []Group{{Period: p.Total - p.Critical}, {Period: p.Critical}}
	for _, pod := range pods {
		at := 0
		if eviction.Critical(pod) {
			at = 1
		}
		groups[at].Pods = append(groups[at].Pods, pod)
	}
	switch {
	case len(groups[0].Pods) == 0 && len(groups[1].Pods) == 0:
		return nil
	case len(groups[0].Pods) == 0:
		return []Group{{p.Total, groups[1].Pods}}
	case len(groups[1].Pods) == 0:
		return []Group{{p.Total, groups[0].Pods}}
	}
	return groups
}

// Grace is how long one pod of a group has: its own grace period, if the group
// has as much.
func (g Group) Grace(pod *corev1.Pod) time.Duration {
	own := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		own = *s
	}
	return max(min(g.Period, time.Duration(own)*time.Second), time.Second)
}
