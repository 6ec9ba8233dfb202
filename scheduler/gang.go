package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/scheduler/core"
	"github.com/headway-sh/headway/scheduler/queue"
)

// Pods of a namespace with the same GangLabel are placed all together or not at
// all, once as many as GangSizeAnnotation says are there.
const (
	GangLabel          = "scheduling.headway.sh/gang"
	GangSizeAnnotation = "scheduling.headway.sh/gang-size"
)

// gang is what is known of one.
type gang struct {
	// held are members that wait for the others.
	held map[types.UID]*queue.Item
	// placed are members with a node, decided or known.
	placed map[types.UID]bool
}

// gangOf gives the gang of a pod and its size; "" when it has none. A size that
// cannot be read is 1: such a pod waits for nobody.
func gangOf(o *corev1.Pod) (key string, size int) {
	name := o.Labels[GangLabel]
	if name == "" {
		return "", 0
	}
	size, err := strconv.Atoi(o.Annotations[GangSizeAnnotation])
	if err != nil {
		size = 1
	}
	return o.Namespace + "/" + name, size
}

func (s *Scheduler) gang(key string) *gang {
	g := s.gangs[key]
	if g == nil {
		g = &gang{held: map[types.UID]*queue.Item{}, placed: map[types.UID]bool{}}
		s.gangs[key] = g
	}
	return g
}

// joinGang notes that a member has a node.
func (s *Scheduler) joinGang(o *corev1.Pod) {
	if key, _ := gangOf(o); key != "" {
		g := s.gang(key)
		delete(g.held, o.UID)
		g.placed[o.UID] = true
	}
}

// leaveGang forgets a member.
func (s *Scheduler) leaveGang(o *corev1.Pod) {
	key, _ := gangOf(o)
	g := s.gangs[key]
	if g == nil {
		return
	}
	delete(g.held, o.UID)
	delete(g.placed, o.UID)
	if len(g.held)+len(g.placed) == 0 {
		delete(s.gangs, key)
	}
}

// decideGang holds a popped member until its gang is complete, and then decides
// about all that are held. What is bound is bound in one transaction.
func (s *Scheduler) decideGang(key string, size int, item *queue.Item) (binds []bind) {
	g := s.gang(key)
	g.held[item.Pod.UID] = item
	if missing := size - len(g.held) - len(g.placed); missing > 0 {
		s.reports.unschedulable(item.Pod.Object, fmt.Sprintf("waiting for %d more pods of gang %q", missing, item.Pod.Object.Labels[GangLabel]), "")
		return nil
	}
	members := slices.SortedFunc(maps.Values(g.held), func(a, b *queue.Item) int {
		return strings.Compare(a.Pod.Object.Name, b.Pod.Object.Name)
	})
	clear(g.held)
	ways := make([]*awaited, len(members))
	for i, member := range members {
		d := s.state.Decide(member.Pod)
		if d.Node == "" {
			s.refusedGang(members, members[:i], member, d.Message(), d.Helps)
			return nil
		}
		s.state.Place(member.Pod, d.Node)
		b := bind{pod: member.Pod.Object, node: d.Node}
		way, err := s.prepare(b, d.Claims)
		if err != nil {
			s.refusedGang(members, members[:i+1], member, err.Error(), core.AnyChange)
			return nil
		}
		ways[i], binds = way, append(binds, b)
	}
	var now []bind
	for i, b := range binds {
		g.placed[b.pod.UID] = true
		s.state.Unnominate(b.pod.UID)
		s.reports.forget(b.pod.UID)
		if s.depart(ways[i]) {
			now = append(now, b)
		}
	}
	s.queue.Wake(core.PodPlaced, s.clock.Now())
	return now
}

// refusedGang takes back what was placed and lets all members wait for what
// would help the one that did not fit.
func (s *Scheduler) refusedGang(members, placed []*queue.Item, refused *queue.Item, why string, helps core.Change) {
	for _, member := range placed {
		s.state.Remove(member.Pod.UID)
		s.release(member.Pod.UID)
	}
	for _, member := range members {
		s.config.Metrics.attempt(profileOf(member.Pod.Object), "unschedulable")
		if helps == core.AnyChange { // nobody knows what would help
			s.queue.Retry(member.Pod.UID, s.clock.Now())
		} else {
			s.queue.Park(member, helps, s.clock.Now())
		}
		message := why
		if member != refused {
			message = fmt.Sprintf("gang %q does not fit as a whole: pod %s: %s", member.Pod.Object.Labels[GangLabel], refused.Pod.Object.Name, message)
		}
		s.reports.unschedulable(member.Pod.Object, message, "")
	}
}
