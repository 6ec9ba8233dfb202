package scheduler

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/scheduler/core"
	"github.com/headway-sh/headway/scheduler/queue"
)

// Victims are the pods that would have to leave a node.
type Victims struct {
	Pods []*corev1.Pod
	// Violations is how many of them a disruption budget protects.
	Violations int
}

// PreemptExtender is an Extender that has a say in who makes way for a pod.
type PreemptExtender interface {
	Extender
	// Preempts tells whether it wants to be asked.
	Preempts() bool
	// Preempt gives, of the nodes that it is asked about, those that will do, and
	// by UID who is to leave each.
	Preempt(ctx context.Context, p *corev1.Pod, victims map[string]Victims) (map[string]Choice, error)
}

// Choice is whom an extender would have leave a node.
type Choice struct {
	Pods       []types.UID
	Violations int
}

// offer is what extenders are being asked about that have a say in preemption.
type offer struct {
	item       *queue.Item
	pod        *corev1.Pod
	refused    core.Decision
	candidates []core.Sacrifice
	extenders  []PreemptExtender
}

// offer asks the extenders that want to be, about all that preemption could do
// for a refused pod.
func (s *Scheduler) offer(item *queue.Item, refused core.Decision, candidates []core.Sacrifice) bool {
	o := &offer{item: item, pod: item.Pod.Object, refused: refused, candidates: candidates}
	for _, e := range s.extensionsOf(o.pod).Extenders {
		if p, ok := e.(PreemptExtender); ok && p.Preempts() && p.Interested(o.pod) {
			o.extenders = append(o.extenders, p)
		}
	}
	if len(o.extenders) == 0 {
		return false
	}
	s.offers[item.Pod.UID] = o
	s.offered.add(o)
	return true
}

// bargain asks extenders about preemption until ctx ends.
func (s *Scheduler) bargain(ctx context.Context) error {
	return s.aside(ctx, s.offered.ready, func() (func() error, bool) {
		taken := s.offered.take(1)
		if len(taken) == 0 {
			return nil, false
		}
		o := taken[0]
		return func() error {
			left, err := s.choices(ctx, o)
			s.inbox.put(func(s *Scheduler) { s.chosen(o, left, err) })
			return nil
		}, true
	})
}

// choices asks one extender after the other, each about what the one before it
// has left.
func (s *Scheduler) choices(ctx context.Context, o *offer) (map[string]Choice, error) {
	asked, left := map[string]Victims{}, map[string]Choice{}
	known := map[types.UID]*corev1.Pod{}
	for _, c := range o.candidates {
		v, choice := Victims{Violations: c.Violations}, Choice{Violations: c.Violations}
		for _, p := range c.Victims {
			known[p.UID] = p.Object
			v.Pods, choice.Pods = append(v.Pods, p.Object), append(choice.Pods, p.UID)
		}
		asked[c.Node], left[c.Node] = v, choice
	}
	for _, e := range o.extenders {
		answer, err := e.Preempt(ctx, o.pod, asked)
		if err == nil {
			asked, err = narrow(asked, answer, known)
		}
		switch {
		case err != nil && e.Ignorable():
			s.log.Warn("extender is ignored", "extender", e.Name(), "namespace", o.pod.Namespace, "pod", o.pod.Name, "err", err)
			continue
		case err != nil:
			return nil, fmt.Errorf("extender %s: %w", e.Name(), err)
		}
		left = answer
	}
	return left, nil
}

// narrow is what the next extender is asked about. Nobody is added to the
// victims who was not among those that preemption would have had leave: they are
// the only ones of whom it is known that they may.
func narrow(asked map[string]Victims, answer map[string]Choice, known map[types.UID]*corev1.Pod) (map[string]Victims, error) {
	next := map[string]Victims{}
	for node, choice := range answer {
		before, ok := asked[node]
		if !ok {
			return nil, fmt.Errorf("node %q was not asked about", node)
		}
		if len(choice.Pods) == 0 {
			return nil, fmt.Errorf("node %q is to do without a victim", node)
		}
		v := Victims{Violations: choice.Violations}
		for _, uid := range choice.Pods {
			if !slices.ContainsFunc(before.Pods, func(p *corev1.Pod) bool { return p.UID == uid }) {
				return nil, fmt.Errorf("pod %q is no victim on node %q", uid, node)
			}
			v.Pods = append(v.Pods, known[uid])
		}
		next[node] = v
	}
	return next, nil
}

// chosen begins the cheapest of what is left, unless the cluster has changed.
func (s *Scheduler) chosen(o *offer, left map[string]Choice, err error) {
	uid := o.item.Pod.UID
	if s.offers[uid] != o {
		return
	}
	delete(s.offers, uid)
	if err != nil {
		s.reports.unschedulable(o.item.Pod.Object, o.refused.Message()+" preemption: "+err.Error(), "")
		s.queue.Retry(uid, s.clock.Now())
		return
	}
	var still []core.Sacrifice
	for _, c := range o.candidates {
		choice, ok := left[c.Node]
		if !ok {
			continue
		}
		c.Violations = choice.Violations
		c.Victims = slices.DeleteFunc(slices.Clone(c.Victims), func(p *core.Pod) bool {
			node, there := s.state.NodeOf(p.UID)
			return !there || node != c.Node || !slices.Contains(choice.Pods, p.UID)
		})
		still = append(still, c)
	}
	plan := core.Preemption{Nodes: len(o.candidates), Reasons: map[string]int{"node(s) were refused by extenders": len(o.candidates)}}
	if best, ok := core.Cheapest(still); ok {
		if len(best.Victims) == 0 { // they have gone by themselves
			s.queue.Retry(uid, s.clock.Now())
			return
		}
		plan.Node, plan.Victims, plan.Violations = best.Node, best.Victims, best.Violations
	}
	s.makeRoom(o.item.Pod, o.refused, plan)
}
