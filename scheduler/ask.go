package scheduler

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/scheduler/core"
	"github.com/headway-sh/headway/scheduler/queue"
)

// sideBySide is how many pods are with extenders, or with binders of their own,
// at the same time.
const sideBySide = 16

// question is a pod that extenders are being asked about.
type question struct {
	item      *queue.Item
	pod       *corev1.Pod
	class     string
	nodes     []*corev1.Node
	extenders []Extender
}

// ask asks the extenders that are interested in a popped pod, if any are and if
// any node fits at all.
func (s *Scheduler) ask(item *queue.Item) bool {
	own := s.extensionsOf(item.Pod.Object)
	if len(own.Extenders) == 0 {
		return false
	}
	q := &question{item: item, pod: item.Pod.Object, class: item.Pod.Class}
	for _, e := range own.Extenders {
		if e.Interested(q.pod) {
			q.extenders = append(q.extenders, e)
		}
	}
	if len(q.extenders) == 0 {
		return false
	}
	if q.nodes = s.state.Candidates(item.Pod); len(q.nodes) == 0 {
		return false
	}
	s.asking[item.Pod.UID] = q
	s.questions.add(q)
	return true
}

// consult asks extenders until ctx ends.
func (s *Scheduler) consult(ctx context.Context) error {
	return s.aside(ctx, s.questions.ready, func() (func() error, bool) {
		taken := s.questions.take(1)
		if len(taken) == 0 {
			return nil, false
		}
		q := taken[0]
		return func() error {
			opinion, err := s.opinion(ctx, q)
			s.inbox.put(func(s *Scheduler) { s.answered(q, opinion, err) })
			return nil
		}, true
	})
}

// aside does work that may take long, until ctx ends; next gives some, and
// ready tells when there may be more.
func (s *Scheduler) aside(ctx context.Context, ready <-chan struct{}, next func() (func() error, bool)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	for {
		select {
		case <-ctx.Done():
			return group.Wait()
		case <-ready:
		}
		for work, ok := next(); ok && ctx.Err() == nil; work, ok = next() {
			group.Go(work)
		}
	}
}

// opinion asks one extender after the other for the nodes that will do, and
// then each what it thinks of those.
func (s *Scheduler) opinion(ctx context.Context, q *question) (*core.Opinion, error) {
	o := &core.Opinion{Scores: map[string]int64{}, Refused: map[string]string{}}
	nodes := q.nodes
	for _, e := range q.extenders {
		fit, refused, err := e.Filter(ctx, q.pod, nodes)
		if err != nil && e.Ignorable() {
			s.log.Warn("extender is ignored", "extender", e.Name(), "namespace", q.pod.Namespace, "pod", q.pod.Name, "err", err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("extender %s: %w", e.Name(), err)
		}
		nodes = slices.DeleteFunc(slices.Clone(nodes), func(n *corev1.Node) bool {
			if fit[n.Name] {
				return false
			}
			if o.Refused[n.Name] = refused[n.Name]; o.Refused[n.Name] == "" {
				o.Refused[n.Name] = fmt.Sprintf("node(s) were refused by extender %s", e.Name())
			}
			return true
		})
	}
	for _, n := range nodes {
		o.Scores[n.Name] = 0
	}
	for _, e := range q.extenders {
		if len(nodes) < 2 {
			break
		}
		scores, err := e.Prioritize(ctx, q.pod, nodes)
		if err != nil {
			s.log.Warn("extender's scores are ignored", "extender", e.Name(), "namespace", q.pod.Namespace, "pod", q.pod.Name, "err", err)
		}
		for node, score := range scores {
			if _, ok := o.Scores[node]; ok {
				o.Scores[node] += score
			}
		}
	}
	return o, nil
}

// answered decides about a pod with the extenders' opinion. What has changed
// meanwhile in the cluster counts; a pod that has changed itself is asked about
// again.
func (s *Scheduler) answered(q *question, opinion *core.Opinion, err error) {
	uid := q.item.Pod.UID
	if s.asking[uid] != q {
		return
	}
	delete(s.asking, uid)
	if err != nil {
		s.reports.unschedulable(q.item.Pod.Object, err.Error(), "")
		s.queue.Retry(uid, s.clock.Now())
		return
	}
	if q.item.Pod.Class != q.class && s.ask(q.item) {
		return
	}
	d := s.state.DecideWith(q.item.Pod, opinion)
	if d.Node == "" {
		s.refused(q.item, d)
		return
	}
	if b, ready := s.decided(q.item, d); ready {
		s.binds.add(together{binds: []bind{b}})
	}
}
