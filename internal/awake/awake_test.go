package awake_test

import (
	"log/slog"
	"testing"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/internal/awake"
)

// dueClock hands due functions to the test: a fake clock would call them with
// its lock held, and they ask for the time.
type dueClock struct {
	*clocktesting.FakeClock
	due chan func()
}

func (c dueClock) AfterFunc(d time.Duration, f func()) clock.Timer {
	return c.FakeClock.AfterFunc(d, func() { c.due <- f })
}

// step lets time pass at once, and then calls what became due.
func (c dueClock) step(d time.Duration) {
	c.Step(d)
	for len(c.due) > 0 {
		(<-c.due)()
	}
}

func newClock() (dueClock, *awake.Clock) {
	base := dueClock{clocktesting.NewFakeClock(time.Unix(1000, 0)), make(chan func(), 64)}
	return base, awake.New(base, slog.New(slog.DiscardHandler))
}

// run lets time pass while the process runs.
func run(base dueClock, c *awake.Clock, d time.Duration) {
	const look = 250 * time.Millisecond
	for range d / look {
		base.step(look)
		c.Now()
	}
}

func TestClockStandsStillWithItsProcess(t *testing.T) {
	t.Parallel()
	base, c := newClock()
	began := c.Now()
	run(base, c, 10*time.Second)
	if got := c.Since(began); got != 10*time.Second || !c.Stood().IsZero() {
		t.Fatalf("after 10 s: %v, stood at %v", got, c.Stood())
	}
	stood := c.Now()
	base.step(time.Minute)
	if got := c.Now(); !got.Equal(stood) || !c.Stood().Equal(stood) {
		t.Errorf("after a minute without a look: %v later, stood at %v", got.Sub(stood), c.Stood())
	}
	run(base, c, awake.Settle)
	if got := c.Since(stood); got > 250*time.Millisecond {
		t.Errorf("while it settles: %v later", got)
	}
	settled := c.Now()
	run(base, c, 3*time.Second)
	if got := c.Since(settled); got != 3*time.Second {
		t.Errorf("3 s after it has settled: %v later", got)
	}
}

// TestStallsDoNotHoldTheClockForever: a process that hardly ever runs still comes
// to the end of its waits.
func TestStallsDoNotHoldTheClockForever(t *testing.T) {
	t.Parallel()
	base, c := newClock()
	began := c.Now()
	for range 20 {
		base.step(5 * time.Second)
		c.Now()
	}
	if got := c.Since(began); got < 5*time.Second || got > 20*time.Second {
		t.Errorf("20 looks within 100 s: %v", got)
	}
}

func TestTimersWaitForTheClock(t *testing.T) {
	t.Parallel()
	base, c := newClock()
	called := 0
	timer := c.AfterFunc(3*time.Second, func() { called++ })
	run(base, c, time.Second)
	base.step(time.Minute)
	if called != 0 {
		t.Fatal("called for a stall")
	}
	run(base, c, awake.Settle+time.Second)
	if called != 0 {
		t.Error("called too early")
	}
	run(base, c, time.Second+250*time.Millisecond)
	if called != 1 {
		t.Errorf("called %d times after its time, want 1", called)
	}
	if timer.Reset(time.Second) {
		t.Error("a timer that is over was running")
	}
	if !timer.Stop() {
		t.Error("a timer that runs was over")
	}
	run(base, c, 5*time.Second)
	if called != 1 {
		t.Errorf("a stopped timer was called")
	}
}
