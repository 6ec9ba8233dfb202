package fairness

import (
	"fmt"
	"sync"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing"
	"k8s.io/apiserver/pkg/util/flowcontrol/metrics"
)

// defaultShares are a level's whose object does not say.
const defaultShares = 30

// level is one priority level in force. As long as nobody has to wait, requests
// take their seats directly. From the first one that has to wait until the
// queues are empty again, requests go through them; but a quarter of the seats
// is kept for requests that take one, which need not wait for a seat that a
// long list gives back.
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
	narrow  int        // of them by requests that take one
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
	left := max(0, s.current-max(s.direct, s.direct-s.narrow+s.kept()))
	s.queues = completer.Complete(fairqueuing.DispatchingConfig{ConcurrencyLimit: left, ConcurrencyDenominator: max(1, left)})
	return nil
}

// kept are the seats that nobody has but requests that take one.
func (s *seating) kept() int { return s.current / 4 }

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
	switch {
	case l.exempt || l.free(width):
		l.direct += width
		if width == 1 {
			l.narrow++
		}
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

// free tells whether a request of the width can be let in directly. The caller
// holds mu.
func (s *seating) free(width int) bool {
	switch {
	case s.queued > 0:
		return width == 1 && s.narrow < s.kept()
	case s.direct == 0:
		return s.current > 0
	case width == 1:
		return s.direct < s.current
	}
	return s.direct+width <= s.current-s.kept()
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
	if width == 1 {
		l.narrow--
	}
	if l.queued > 0 && (width > 1 || l.narrow >= l.kept()) { // the queues have more now
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

// widest is how many seats one request of the level may take: so many that a
// few of the longest lists fill the level. They share the server's processors
// with everything else, so more of them at once end no sooner.
func (l *level) widest() int { return max(1, l.seats()/4) }

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
