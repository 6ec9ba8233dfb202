package scheduler

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Extensions are what others add to the way of the pods of one profile, beside
// the filters and scores that the profile itself has. A pod's way is: a node
// that fits and that the extenders like, reserve, permit, volumes, bind.
type Extensions struct {
	Extenders []Extender
	Reserve   []ReservePlugin
	Permit    []PermitPlugin
	Bind      []BindPlugin
}

// Extender is asked for its opinion about pods that it is interested in. It may
// take a while: other pods are decided about meanwhile. Pods of gangs are not
// shown to extenders. It is called from several goroutines.
type Extender interface {
	Name() string
	Interested(p *corev1.Pod) bool
	// Filter tells which of the nodes will do, by name, and why others will not.
	Filter(ctx context.Context, p *corev1.Pod, nodes []*corev1.Node) (fit map[string]bool, refused map[string]string, err error)
	// Prioritize gives nodes scores that are added to the scheduler's own, where
	// a plug-in of weight 1 gives at most 100.
	Prioritize(ctx context.Context, p *corev1.Pod, nodes []*corev1.Node) (map[string]int64, error)
	// Ignorable tells whether the pod goes on when the extender fails.
	Ignorable() bool
}

// ReservePlugin keeps what a pod needs beside its node. It is called from the
// goroutine that decides: it must not wait for anything.
type ReservePlugin interface {
	Name() string
	// Reserve refuses with an error, which the pod's condition tells. The pod is
	// tried again after its back-off.
	Reserve(p *corev1.Pod, node string) error
	// Unreserve takes back a reservation of a pod that is not bound after all.
	Unreserve(p *corev1.Pod, node string)
}

// PermitPlugin lets pods that have a node be bound, now or later. It is called
// from the goroutine that decides: it must not wait for anything.
type PermitPlugin interface {
	Name() string
	Permit(p *corev1.Pod, node string) Permission
}

// Permission is a PermitPlugin's answer; the zero value is yes.
type Permission struct {
	// Refused is why the pod is not bound; it is tried again after its back-off.
	Refused string
	// Wait is for how long the pod waits for Scheduler.Allow; 0: it does not.
	// After that it is refused.
	Wait time.Duration
}

// BindPlugin binds pods in its own way. The first that does not decline has
// done it; else it is done as usual. It is called from several goroutines.
type BindPlugin interface {
	Name() string
	Bind(ctx context.Context, p *corev1.Pod, node string) (declined bool, err error)
}

// Allow lets a pod go on that waits for a PermitPlugin. It does nothing about
// one that does not. It may be called from any goroutine.
func (s *Scheduler) Allow(pod types.UID, plugin string) {
	s.inbox.put(func(s *Scheduler) {
		if a := s.awaiting[pod]; a != nil && a.permits[plugin] {
			delete(a.permits, plugin)
			s.permitted(a)
		}
	})
}

// Reject refuses a pod that waits for a PermitPlugin. It may be called from any
// goroutine.
func (s *Scheduler) Reject(pod types.UID, plugin, why string) {
	s.inbox.put(func(s *Scheduler) {
		if a := s.awaiting[pod]; a != nil && a.permits[plugin] {
			s.failed(a, refusedBy(plugin, why))
		}
	})
}
