package awake

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// tick is how often the clock looks whether the process runs.
	tick = 250 * time.Millisecond
	// late is how much of the time between two looks counts at most.
	late = 2 * tick
	// stall is how long between two looks is called standing still.
	stall = time.Second
	// Settle is how long the clock stands on after a stall: what has come
	// meanwhile waits in sockets, and is read first.
	Settle = time.Second
	// again is how much of the clock's time lies between two times of settling:
	// a process that stands still again and again comes to an end of its waits.
	again = 4 * time.Second
)

// Clock is such a clock. Its times are not those of the day: they are compared
// with each other alone. It is safe for concurrent use.
//
//	runs ──no look for a stall──▶ stands ──Settle later──▶ runs
type Clock struct {
	base   clock.WithDelayedExecution
	logger *slog.Logger

	mu     sync.Mutex // guards what follows
	looked time.Time  // by the base
	now    time.Time
	stands time.Time // until then, by the base
	stood  time.Time
}

// New returns a Clock that begins at the base's time.
func New(base clock.WithDelayedExecution, logger *slog.Logger) *Clock {
	now := base.Now()
	return &Clock{base: base, logger: logger, looked: now, now: now}
}

// Run looks whether the process runs, until ctx ends. Without it only those who
// ask for the time do.
func (c *Clock) Run(ctx context.Context) error {
	timer := c.base.NewTimer(tick)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C():
			c.Now()
			timer.Reset(tick)
		}
	}
}

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.look()
}

// look moves the clock on; c.mu is held.
func (c *Clock) look() time.Time {
	base := c.base.Now()
	gap := base.Sub(c.looked)
	c.looked = base
	switch {
	case gap >= stall && (c.stood.IsZero() || c.now.Sub(c.stood) >= again):
		c.stood, c.stands = c.now, base.Add(Settle)
		c.logger.Warn("this process stood still; that is not counted as silence of others", "for", gap)
	case base.Before(c.stands):
	default:
		c.now = c.now.Add(min(gap, late))
	}
	return c.now
}

// Stood is the clock's time when it stood still last, with the time to settle
// afterwards; zero: it never did.
func (c *Clock) Stood() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	return c.stood
}

// Since is how much of the clock's time has passed.
func (c *Clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// AfterFunc calls f once the clock has run for d. The timer has no channel.
func (c *Clock) AfterFunc(d time.Duration, f func()) clock.Timer {
	t := &timer{clock: c, f: f}
	t.Reset(d)
	return t
}

// left is how long of the base's time it takes at least until at; 0: it is over.
func (c *Clock) left(at time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := at.Sub(c.look())
	if left <= 0 {
		return 0
	}
	return left + max(c.stands.Sub(c.looked), 0)
}

// timer is armed with the base again and again until the clock has come so far.
type timer struct {
	clock *Clock
	f     func()

	mu    sync.Mutex // guards what follows
	at    time.Time
	armed clock.Timer // nil: it is over, or stopped
	turn  int         // of Reset
}

// C implements clock.Timer: there is none.
func (t *timer) C() <-chan time.Time { return nil }

// Stop implements clock.Timer.
func (t *timer) Stop() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stop()
}

func (t *timer) stop() bool {
	t.turn++
	if t.armed == nil {
		return false
	}
	t.armed.Stop()
	t.armed = nil
	return true
}

// Reset implements clock.Timer.
func (t *timer) Reset(d time.Duration) bool {
	at := t.clock.Now().Add(d)
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.stop()
	t.at = at
	t.arm(d)
	return was
}

func (t *timer) arm(d time.Duration) {
	turn := t.turn
	t.armed = t.clock.base.AfterFunc(d, func() { t.due(turn) })
}

func (t *timer) due(turn int) {
	t.mu.Lock()
	if turn != t.turn || t.armed == nil {
		t.mu.Unlock()
		return
	}
	if left := t.clock.left(t.at); left > 0 {
		t.arm(left)
		t.mu.Unlock()
		return
	}
	t.armed = nil
	t.mu.Unlock()
	t.f()
}
