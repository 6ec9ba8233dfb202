package scheduler

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/scheduler/core"
	"github.com/headway-sh/headway/scheduler/queue"
)

// evictors is how many victims of one preemption are deleted side by side.
const evictors = 16

// preemption is a decided one on its way to the API.
type preemption struct {
	pod     *corev1.Pod
	node    string
	victims []*corev1.Pod
}

// refused deals with a popped pod that no node has room for: it waits for a
// change that helps, or for the victims that make way for it.
func (s *Scheduler) refused(item *queue.Item, d core.Decision) {
	now, uid := s.clock.Now(), item.Pod.UID
	s.config.Metrics.attempt(profileOf(item.Pod.Object), "unschedulable")
	s.queue.Park(item, d.Helps, now)
	if s.preempting[uid] || s.offers[uid] != nil {
		return // its victims are being chosen or deleted; that wakes it
	}
	plan, all := s.state.Sacrifices(item.Pod, d)
	if plan.Node != "" && s.offer(item, d, all) {
		return
	}
	s.makeRoom(item.Pod, d, plan)
}

// makeRoom begins a preemption, if there is one that helps, and says what there is
// to say.
func (s *Scheduler) makeRoom(pod *core.Pod, d core.Decision, plan core.Preemption) {
	message := d.Message()
	if said := plan.Message(); said != "" && d.Nodes > 0 {
		message += " " + said
	}
	switch {
	case plan.Node != "":
		s.state.Nominate(pod, plan.Node)
		s.withdraw(pod, plan.Node)
		s.preempting[pod.UID] = true
		work := preemption{pod: pod.Object, node: plan.Node}
		for _, victim := range plan.Victims {
			work.victims = append(work.victims, victim.Object)
		}
		s.config.Metrics.preempted(len(work.victims))
		s.preemptions.add(work)
	case plan.Ineligible == "":
		s.unnominate(pod.UID)
	}
	_, node, _ := s.state.Nominated(pod.UID)
	s.reports.unschedulable(pod.Object, message, node)
}

// withdraw takes back the promises of a node to pods of lower priority than
// the one that it is now promised to: they look for another.
func (s *Scheduler) withdraw(p *core.Pod, node string) {
	for _, other := range s.state.NominatedOn(node) {
		if other.Priority < p.Priority {
			s.unnominate(other.UID)
			s.reports.withdrawn(other.Object)
			s.queue.Activate(other.UID, s.clock.Now())
		}
	}
}

// unnominate gives the promised room to whoever comes.
func (s *Scheduler) unnominate(uid types.UID) {
	if s.state.Unnominate(uid) {
		s.queue.Wake(core.PodGone, s.clock.Now())
	}
}

// nominations takes over what the API says about a waiting pod's promise. One
// that has been given but is not written yet stays.
func (s *Scheduler) nominations(p *core.Pod) {
	old, node, ok := s.state.Nominated(p.UID)
	switch want := p.Object.Status.NominatedNodeName; {
	case want != "":
		s.state.Nominate(p, want)
	case ok && old.Object.Status.NominatedNodeName != "":
		s.unnominate(p.UID)
	case ok:
		s.state.Nominate(p, node)
	}
}

// preempt deletes victims until ctx ends.
func (s *Scheduler) preempt(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.preemptions.ready:
		}
		for taken := s.preemptions.take(1); len(taken) > 0; taken = s.preemptions.take(1) {
			work := taken[0]
			group, within := errgroup.WithContext(ctx)
			group.SetLimit(evictors)
			for _, victim := range work.victims {
				group.Go(func() error { return s.evict(within, work, victim) })
			}
			err := group.Wait()
			if ctx.Err() != nil {
				return nil
			}
			s.inbox.put(func(s *Scheduler) { s.preempted(work, err) })
		}
	}
}

// evict says on the victim why it goes, and deletes it with its own grace.
func (s *Scheduler) evict(ctx context.Context, work preemption, victim *corev1.Pod) error {
	changed := victim.DeepCopy()
	setCondition(&changed.Status, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
		Message:            fmt.Sprintf("%s: preempting to accommodate a higher priority pod", profileOf(work.pod)),
		LastTransitionTime: metav1.NewTime(s.clock.Now()),
	})
	if err := s.config.Client.Status().Patch(ctx, changed, client.StrategicMergeFrom(victim)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("mark victim %s/%s: %w", victim.Namespace, victim.Name, err)
	}
	err := s.config.Client.Delete(ctx, victim.DeepCopy(), client.Preconditions{UID: ptr.To(victim.UID)})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete victim %s/%s: %w", victim.Namespace, victim.Name, err)
	}
	if err == nil {
		s.events.Eventf(victim, corev1.EventTypeNormal, "Preempted", "Preempted by pod %s on node %s", work.pod.UID, work.node)
	}
	return nil
}

// preempted takes the result: a preemption that has failed is planned again.
func (s *Scheduler) preempted(work preemption, err error) {
	delete(s.preempting, work.pod.UID)
	if err == nil {
		return
	}
	s.log.Warn("preempt", "namespace", work.pod.Namespace, "pod", work.pod.Name, "node", work.node, "err", err)
	s.unnominate(work.pod.UID)
	s.reports.withdrawn(work.pod)
	s.queue.Retry(work.pod.UID, s.clock.Now())
}

// setCondition puts a condition in place of the one of its type.
func setCondition(status *corev1.PodStatus, want corev1.PodCondition) {
	i := slices.IndexFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type == want.Type })
	if i < 0 {
		status.Conditions = append(status.Conditions, want)
		return
	}
	if status.Conditions[i].Status == want.Status {
		want.LastTransitionTime = status.Conditions[i].LastTransitionTime
	}
	status.Conditions[i] = want
}
