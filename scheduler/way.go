package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/scheduler/core"
	"github.com/headway-sh/headway/scheduler/queue"
)

// awaited is a decided pod that cannot be bound at once: plug-ins have not
// permitted it yet, or its claims are being bound on its node.
type awaited struct {
	bind
	// until is when the wait is over: for the permits first, then for claims.
	until time.Time
	// reserved are the plug-ins that keep something for the pod.
	reserved []ReservePlugin
	// permits are the plug-ins that have not said yes yet.
	permits map[string]bool
	// claims are what was written; the last known state is the State's.
	claims []core.ClaimBinding
	// written says that the API has what was decided about claims.
	written bool
}

// objection is a plug-in's no: the pod's condition tells it.
type objection struct{ plugin, why string }

func (o *objection) Error() string { return fmt.Sprintf("%s: %s", o.plugin, o.why) }

func refusedBy(plugin, why string) error { return &objection{plugin, why} }

// decided puts a pod where it was decided to go, and tells whether it can be
// bound at once.
func (s *Scheduler) decided(item *queue.Item, d core.Decision) (b bind, ready bool) {
	s.state.Unnominate(item.Pod.UID)
	s.reports.forget(item.Pod.UID) // or it might be written after the bind
	s.state.Place(item.Pod, d.Node)
	b = bind{pod: item.Pod.Object, node: d.Node}
	a, err := s.prepare(b, d.Claims)
	if err != nil {
		s.bound(b, err)
		return b, false
	}
	s.queue.Wake(core.PodPlaced, s.clock.Now())
	return b, s.depart(a)
}

// prepare keeps what a decided pod needs beside its node, and asks who has to
// permit it. Nil means that nothing stands in the way of its bind.
func (s *Scheduler) prepare(b bind, claims []core.ClaimBinding) (*awaited, error) {
	own := s.extensionsOf(b.pod)
	if len(claims) == 0 && len(own.Reserve)+len(own.Permit) == 0 {
		return nil, nil
	}
	a := &awaited{bind: b, claims: claims, permits: map[string]bool{}}
	if len(claims) > 0 {
		s.state.Reserve(b.pod.UID, b.node, claims)
	}
	s.kept[b.pod.UID] = a
	for _, plugin := range own.Reserve {
		if err := plugin.Reserve(b.pod, b.node); err != nil {
			s.release(b.pod.UID)
			return nil, refusedBy(plugin.Name(), err.Error())
		}
		a.reserved = append(a.reserved, plugin)
	}
	for _, plugin := range own.Permit {
		answer := plugin.Permit(b.pod, b.node)
		if answer.Refused != "" {
			s.release(b.pod.UID)
			return nil, refusedBy(plugin.Name(), answer.Refused)
		}
		if answer.Wait > 0 {
			a.permits[plugin.Name()] = true
			if until := s.clock.Now().Add(answer.Wait); a.until.IsZero() || until.Before(a.until) {
				a.until = until
			}
		}
	}
	return a, nil
}

// depart lets a prepared pod wait for what stands in its way, and tells whether
// nothing does.
func (s *Scheduler) depart(a *awaited) (ready bool) {
	if a == nil || len(a.permits)+len(a.claims) == 0 {
		return true
	}
	s.awaiting[a.pod.UID] = a
	if len(a.permits) == 0 {
		s.awaitVolumes(a)
	}
	return false
}

// permitted lets a pod go on when the last plug-in has said yes.
func (s *Scheduler) permitted(a *awaited) {
	switch {
	case len(a.permits) > 0:
	case len(a.claims) > 0:
		s.awaitVolumes(a)
	default:
		s.arrived(a)
	}
}

// arrived binds a pod that nothing stands in the way of any more.
func (s *Scheduler) arrived(a *awaited) {
	delete(s.awaiting, a.pod.UID)
	s.binds.add(together{binds: []bind{a.bind}})
}

func (s *Scheduler) failed(a *awaited, err error) {
	delete(s.awaiting, a.pod.UID)
	s.bound(a.bind, err)
}

// expire gives up on pods that have waited for too long, and tells when the
// next will have.
func (s *Scheduler) expire(now time.Time) (next time.Time) {
	for _, a := range s.awaiting {
		switch {
		case !a.until.After(now):
			s.failed(a, a.late())
		case next.IsZero() || a.until.Before(next):
			next = a.until
		}
	}
	return next
}

func (a *awaited) late() error {
	for plugin := range a.permits {
		return refusedBy(plugin, "did not permit it in time")
	}
	return fmt.Errorf("bind volumes: timed out after %s", VolumeTimeout)
}

// release takes back what is kept for a pod that is not bound after all.
func (s *Scheduler) release(uid types.UID) {
	a := s.kept[uid]
	s.settle(uid)
	if a == nil {
		return
	}
	for i := len(a.reserved) - 1; i >= 0; i-- {
		a.reserved[i].Unreserve(a.pod, a.node)
	}
}

// settle forgets the way of a pod that is bound: what was kept for it is its own.
func (s *Scheduler) settle(uid types.UID) {
	delete(s.kept, uid)
	delete(s.awaiting, uid)
	delete(s.asking, uid)
	s.state.Unreserve(uid)
}

var noExtensions = &Extensions{}

func (s *Scheduler) extensionsOf(o *corev1.Pod) *Extensions {
	if len(s.config.Extensions) == 0 {
		return noExtensions
	}
	if own, ok := s.config.Extensions[profileOf(o)]; ok {
		return &own
	}
	return noExtensions
}

// bindOwn binds the pods that have a binder of their own until ctx ends.
func (s *Scheduler) bindOwn(ctx context.Context) error {
	return s.aside(ctx, s.ownBinds.ready, func() (func() error, bool) {
		taken := s.ownBinds.take(1)
		if len(taken) == 0 {
			return nil, false
		}
		return func() error { return s.bindOne(ctx, taken[0]) }, true
	})
}

func (s *Scheduler) bindOne(ctx context.Context, b bind) error {
	for _, plugin := range s.extensionsOf(b.pod).Bind {
		declined, err := plugin.Bind(ctx, b.pod, b.node)
		if declined {
			continue
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", plugin.Name(), err)
		}
		if ctx.Err() == nil {
			s.inbox.put(func(s *Scheduler) { s.bound(b, err) })
		}
		return nil
	}
	return s.flush(ctx, []bind{b}, false)
}

// objected tells whether a plug-in has said no, so that the pod's condition has
// to tell why.
func objected(err error) bool {
	var o *objection
	return errors.As(err, &o)
}
