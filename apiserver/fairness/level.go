package fairness

import (
	"fmt"
	"math"
	"sync"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing"
	"k8s.io/apiserver/pkg/util/flowcontrol/metrics"
)

// What a level has when its object does not say.
const (
	defaultShares = 30
	widestPart    = 0.15 // of a level's nominal seats
	widest        = 10   // seats that any request takes
)

// level is one priority level in force. As long as nobody has to wait, requests
// take their seats directly; from the first one that has to wait until the
// queues are empty again every one goes through them, and the queues have the
// seats that those served directly give back.
type level struct {
	name   string
	uid    types.UID
	exempt bool
	spec   flowcontrolv1.PriorityLevelConfigurationSpec
	limits limits
	*seating
	// smoothed is guarded by the Fairness's mutex.
	smoothed float64
}

// seating outlives changes of its level's object.
type seating struct {
	seen fairqueuing.Integrator // seats in use and waited for

	mu      sync.Mutex // guards all below
	current int        // the level's seats
	direct  int        // in use by who did not go through the queues
	queued  int        // requests that are in the queues or were let in by them
	queues  fairqueuing.QueueSet
	queuing *flowcontrolv1.QueuingConfiguration // nil: who does not fit is refused
}

// newLevel puts a level into force; before is the same level as it was, or nil.
func (f *Fairness) newLevel(o *flowcontrolv1.PriorityLevelConfiguration, l limits, before *level) (*level, error) {
	n := &level{name: o.Name, uid: o.UID, exempt: o.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt, spec: o.Spec, limits: l}
	current := l.nominal
	if before != nil {
		n.seating, n.smoothed = before.seating, before.smoothed
		current = min(max(before.seats(), l.least), l.most)
	} else {
		n.seating = &seating{seen: fairqueuing.NewNamedIntegrator(f.config.Clock, o.Name)}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.current, n.queuing = current, nil
	if limited := o.Spec.Limited; limited != nil {
		n.queuing = limited.LimitResponse.Queuing
	}
	return n, n.limit(f, n.name)
}

// limit makes the queues what the level's object says, with the seats that are
// left to them. The caller holds mu.
func (s *seating) limit(f *Fairness, name string) error {
	if s.queuing == nil && s.queues == nil {
		return nil
	}
	queuing := fairqueuing.QueuingConfig{Name: name}
	if q := s.queuing; q != nil {
		queuing.DesiredNumQueues, queuing.QueueLengthLimit, queuing.HandSize = int(q.Queues), int(q.QueueLengthLimit), int(q.HandSize)
	}
	var completer fairqueuing.QueueSetCompleter
	var err error
	if s.queues == nil {
		demand := &queueDemand{seen: s.seen}
		completer, err = f.factory.BeginConstruction(queuing, metrics.RatioedGaugePair{RequestsWaiting: unseen{}, RequestsExecuting: unseen{}}, unseen{}, demand)
	} else {
		completer, err = s.queues.BeginConfigChange(queuing)
	}
	if err != nil {
		return fmt.Errorf("priority level %s: %w", name, err)
	}
	left := max(0, s.current-s.direct)
	s.queues = completer.Complete(fairqueuing.DispatchingConfig{ConcurrencyLimit: left, ConcurrencyDenominator: max(1, left)})
	return nil
}

// admission is how a request is let in.
type admission int

const (
	refused admission = iota
	direct
	throughQueues
)

// enter takes seats directly, or says that the request has to go through the
// queues or is refused. Whoever is let in or told to queue calls exit.
func (l *level) enter(f *Fairness, width int) (admission, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	free := l.queued == 0 && (l.direct+width <= l.current || l.direct == 0 && l.current > 0)
	switch {
	case l.exempt || free:
		l.direct += width
		l.seen.Add(float64(width))
		return direct, nil
	case l.queuing == nil:
		return refused, nil
	}
	if l.queued++; l.queued == 1 {
		if err := l.limit(f, l.name); err != nil {
			l.queued--
			return refused, err
		}
	}
	return throughQueues, nil
}

// exit undoes enter.
func (l *level) exit(f *Fairness, how admission, width int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if how == throughQueues {
		l.queued--
		return nil
	}
	l.direct -= width
	l.seen.Add(float64(-width))
	if l.queued > 0 {
		return l.limit(f, l.name)
	}
	return nil
}

// allot gives the level another number of seats.
func (l *level) allot(f *Fairness, seats int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == seats {
		return nil
	}
	l.current = seats
	return l.limit(f, l.name)
}

// queueSet are the level's queues, once somebody has to wait.
func (s *seating) queueSet() fairqueuing.QueueSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queues
}

// seats are the level's now.
func (s *seating) seats() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// widest is how many seats one request of the level may take.
func (l *level) widest() int {
	return max(1, min(widest, int(math.Ceil(float64(l.limits.nominal)*widestPart))))
}

// queueDemand adds what the queues need to what a level needs. They set it one
// at a time.
type queueDemand struct {
	unseen
	seen fairqueuing.Integrator
	last float64
}

func (d *queueDemand) Set(seats float64) {
	d.seen.Add(seats - d.last)
	d.last = seats
}

// unseen is a ratio that nobody looks at.
type unseen struct{}

var _ metrics.RatioedGauge = unseen{}

func (unseen) Set(float64)            {}
func (unseen) Inc()                   {}
func (unseen) Dec()                   {}
func (unseen) Add(float64)            {}
func (unseen) SetToCurrentTime()      {}
func (unseen) SetDenominator(float64) {}
