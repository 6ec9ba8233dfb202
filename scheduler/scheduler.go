// Package scheduler gives every pod that waits for it a node.
//
//	cache events ──▶ inbox ──▶ ┌───────────────────────────┐ ──binds──▶ binder ──▶ api/txn
//	                           │ one goroutine: State,     │               │
//	     bind results ──▶ inbox│ Queue, Decide, assume     │◀──────────────┘
//	                           └───────────────────────────┘ ──reports─▶ reporter ──▶ status, events
//	                                        ├──victims──▶ preemptor ──▶ deletes, inbox
//	                                        ├──questions▶ extenders ──▶ inbox
//	                                        ├──offered──▶ extenders ──▶ inbox
//	                                        └──claims───▶ volume binder ──▶ claims bound ──▶ binder
//
// One goroutine owns State and Queue. A decided pod is assumed to be on its
// node at once, so that the next decision sees it; if its bind is lost it is
// forgotten again and waits. Binds go out in batches of what is ready: while
// one commit is on its way the next batch gathers, so that nothing waits for a
// batch to fill.
package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/events"
	"github.com/headway-sh/headway/scheduler/core"
	"github.com/headway-sh/headway/scheduler/queue"
)

// DefaultName is the spec.schedulerName that pods have unless they say another.
const DefaultName = core.DefaultProfile

// turn is how many pods are decided before the inbox is looked at again.
const turn = 500

// Config is what a scheduler is made of.
type Config struct {
	// Client writes conditions and events, and binds when Txn is nil.
	Client client.Client
	// Cache tells about pods, nodes and namespaces; its objects are shared.
	Cache cache.Cache
	// Txn commits batches of binds under Identity and Epoch; nil binds one by
	// one through Client.
	Txn      txn.Interface
	Identity txn.Identity
	Epoch    txn.Epoch
	Clock    clock.WithTicker
	Logger   *slog.Logger
	// Seed settles ties between nodes.
	Seed uint64
	// Profiles are the spec.schedulerNames served, and how; none means the
	// default one.
	Profiles []core.Profile
	// Extensions are what others add, by spec.schedulerName.
	Extensions map[string]Extensions
	// Metrics count; nil: nobody does.
	Metrics *Metrics
	// InitialBackoff and MaxBackoff bound the wait of a pod that was refused; 0
	// means the queue's own.
	InitialBackoff, MaxBackoff time.Duration
}

// Validate tells what is missing.
func (c Config) Validate() error {
	if c.Client == nil || c.Cache == nil {
		return errors.New("scheduler: client and cache are needed")
	}
	return nil
}

// Scheduler is a running scheduler's state; see New.
type Scheduler struct {
	config  Config
	log     *slog.Logger
	clock   clock.WithTicker
	inbox   *inbox
	state   *core.State
	queue   *queue.Queue
	binds   *outbox[together]
	reports *reports
	events  events.Recorder

	preemptions *outbox[preemption]
	volumes     *outbox[*awaited]
	questions   *outbox[*question]
	offered     *outbox[*offer]
	ownBinds    *outbox[bind]
	gangs       map[string]*gang
	// kept are decided pods with what is kept for them until they are bound,
	// awaiting those of them that cannot be bound yet, and asking the pods that
	// extenders are being asked about.
	kept, awaiting map[types.UID]*awaited
	asking         map[types.UID]*question
	// preempting are the pods whose victims are being deleted.
	preempting map[types.UID]bool
	// offers are the pods whose victims extenders have a say about.
	offers map[types.UID]*offer
}

// New returns a scheduler that has not started.
func New(config Config) (*Scheduler, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if len(config.Profiles) == 0 {
		config.Profiles = []core.Profile{{Name: DefaultName}}
	}
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Scheduler{
		config: config, log: config.Logger, clock: config.Clock, inbox: newInbox(),
		state: core.NewState(config.Seed), queue: queue.New(), binds: newOutbox[together](), reports: newReports(),
		preemptions: newOutbox[preemption](), preempting: map[types.UID]bool{},
		volumes: newOutbox[*awaited](), questions: newOutbox[*question](), offered: newOutbox[*offer](), offers: map[types.UID]*offer{}, ownBinds: newOutbox[bind](), gangs: map[string]*gang{},
		kept: map[types.UID]*awaited{}, awaiting: map[types.UID]*awaited{}, asking: map[types.UID]*question{},
	}
	s.state.SetProfiles(config.Profiles...)
	s.queue.SetBackoff(config.InitialBackoff, config.MaxBackoff)
	return s, nil
}

// Run schedules until ctx ends, and then returns nil; or until the epoch is
// over, and then returns txn.ErrEpoch. It is called once.
func (s *Scheduler) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	recorder, stop := events.New(ctx, DefaultName, s.config.Client, s.config.Txn, s.clock, s.log)
	defer func() {
		cancel()
		stop()
	}()
	s.events = recorder
	unwatch, err := s.watch(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer unwatch()
	group.Go(func() error { return s.bind(ctx) })
	group.Go(func() error { return s.report(ctx) })
	group.Go(func() error { return s.preempt(ctx) })
	group.Go(func() error { return s.bindVolumes(ctx) })
	group.Go(func() error { return s.consult(ctx) })
	group.Go(func() error { return s.bargain(ctx) })
	group.Go(func() error { return s.bindOwn(ctx) })
	group.Go(func() error { return s.loop(ctx) })
	return group.Wait()
}

// loop owns State and Queue.
func (s *Scheduler) loop(ctx context.Context) error {
	for {
		for _, message := range s.inbox.take() {
			message(s)
		}
		more := s.decideSome()
		if more {
			if ctx.Err() != nil {
				return nil
			}
			continue
		}
		s.config.Metrics.waiting(s.queue)
		var wake <-chan time.Time
		var timer clock.Timer
		if next := s.next(); !next.IsZero() {
			timer = s.clock.NewTimer(max(next.Sub(s.clock.Now()), 0))
			wake = timer.C()
		}
		select {
		case <-ctx.Done():
		case <-s.inbox.ready:
		case <-wake:
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// next is when something is to be done though nothing happens; zero for never.
func (s *Scheduler) next() time.Time {
	next := s.expire(s.clock.Now())
	if queued := s.queue.Next(); next.IsZero() || !queued.IsZero() && queued.Before(next) {
		return queued
	}
	return next
}

// decideSome decides a turn of pods and tells whether more are ready.
func (s *Scheduler) decideSome() bool {
	now := s.clock.Now()
	var binds []bind
	more := true
	for range turn {
		item, ok := s.queue.Pop(now)
		if !ok {
			more = false
			break
		}
		if key, size := gangOf(item.Pod.Object); key != "" {
			if all := s.decideGang(key, size, item); len(all) > 0 {
				s.binds.add(together{all, true})
			}
			continue
		}
		if s.ask(item) {
			continue
		}
		d := s.state.Decide(item.Pod)
		if d.Node == "" {
			s.refused(item, d)
			continue
		}
		if b, ready := s.decided(item, d); ready {
			binds = append(binds, b)
		}
	}
	if len(binds) > 0 {
		s.binds.add(together{binds: binds})
	}
	return more
}

// bound takes the result of one bind. A lost pod leaves the node it was
// assumed on, unless the watch has meanwhile said otherwise.
func (s *Scheduler) bound(b bind, err error) {
	uid := b.pod.UID
	if err == nil {
		s.settle(uid)
		s.config.Metrics.scheduled(profileOf(b.pod), s.queue.Item(uid), s.clock.Now())
		s.queue.Remove(uid)
		s.events.Eventf(b.pod, "Normal", "Scheduled", "Successfully assigned %s/%s to %s", b.pod.Namespace, b.pod.Name, b.node)
		return
	}
	s.config.Metrics.attempt(profileOf(b.pod), "error")
	if s.confirmed(uid) {
		s.settle(uid)
	} else {
		s.release(uid)
		s.leaveGang(b.pod)
		if s.state.Remove(uid) {
			s.queue.Wake(core.PodGone, s.clock.Now())
		}
	}
	if gone(err) {
		s.queue.Remove(uid)
		return
	}
	s.queue.Retry(uid, s.clock.Now())
	if objected(err) {
		s.reports.unschedulable(b.pod, err.Error(), "")
		return
	}
	s.events.Eventf(b.pod, "Warning", "FailedScheduling", "%v", fmt.Errorf("bind to node %q: %w", b.node, err))
}

// profileOf is the spec.schedulerName of a pod.
func profileOf(o *corev1.Pod) string { return cmp.Or(o.Spec.SchedulerName, DefaultName) }

// confirmed tells whether the API has said that the pod is on its node.
func (s *Scheduler) confirmed(uid types.UID) bool {
	p, ok := s.state.Pod(uid)
	return ok && p.Object.Spec.NodeName != ""
}
