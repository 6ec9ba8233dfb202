package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/internal/awake"
	"github.com/headway-sh/headway/membership"
	"github.com/headway-sh/headway/membership/heartbeat"
)

type fakeBeats struct{ state heartbeat.State }

func (f *fakeBeats) State(string) heartbeat.State      { return f.state }
func (f *fakeBeats) Watch(chan<- string) (stop func()) { return func() {} }

type fakeGossip struct{ members []membership.Member }

func (f *fakeGossip) Members() []membership.Member                 { return f.members }
func (f *fakeGossip) Watch(chan<- membership.Member) (stop func()) { return func() {} }

func member(alive bool) []membership.Member {
	return []membership.Member{{Name: "m", Meta: membership.Meta{Node: "n1"}, Alive: alive}}
}

// TestTwoWitnesses lets stream and gossip say different things of a node.
func TestTwoWitnesses(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]struct {
		state        heartbeat.State
		gossip       []membership.Member
		alive, known bool
		again        time.Duration
	}{
		"never heard":                     {heartbeat.State{}, member(false), false, false, 0},
		"beats, gossip knows nothing":     {heartbeat.State{Alive: true, Since: ago(time.Hour), Heard: ago(3 * time.Second)}, nil, true, true, 0},
		"beats, gossip says dead":         {heartbeat.State{Alive: true, Since: ago(time.Hour), Heard: ago(time.Second)}, member(false), true, true, time.Second},
		"quiet, gossip says dead":         {heartbeat.State{Alive: true, Since: ago(time.Hour), Heard: ago(silence)}, member(false), false, true, heartbeat.Interval},
		"quiet, gossip says alive":        {heartbeat.State{Alive: true, Since: ago(time.Hour), Heard: ago(3 * time.Second)}, member(true), true, true, 0},
		"own process, gossip says dead":   {heartbeat.State{Alive: true, Since: ago(time.Hour)}, member(false), true, true, 0},
		"reset, gossip says alive":        {heartbeat.State{Since: ago(time.Second), Reset: true}, member(true), true, true, reconnect - time.Second},
		"reset, grace over":               {heartbeat.State{Since: ago(reconnect), Reset: true}, member(true), false, true, 0},
		"reset, gossip says left":         {heartbeat.State{Since: ago(0), Reset: true}, member(false), false, true, 0},
		"reset, gossip knows nothing":     {heartbeat.State{Since: ago(0), Reset: true}, nil, false, true, 0},
		"reset, but probes go both ways":  {heartbeat.State{Since: ago(time.Minute), Reset: true, Probed: ago(time.Second)}, member(false), true, true, heartbeat.Patience - time.Second},
		"quiet, but probes go both ways":  {heartbeat.State{Alive: true, Since: ago(time.Hour), Heard: ago(3 * time.Second), Probed: ago(time.Second)}, member(false), true, true, heartbeat.Patience - time.Second},
		"reset since the last probe":      {heartbeat.State{Since: ago(time.Second), Reset: true, Probed: ago(2 * time.Second)}, member(false), true, true, reconnect - time.Second},
		"reset long since the last probe": {heartbeat.State{Since: ago(reconnect), Reset: true, Probed: ago(2 * time.Second)}, member(true), false, true, 0},
		"silent, and so are probes":       {heartbeat.State{Since: ago(0), Probed: ago(heartbeat.Patience)}, member(true), false, true, 0},
		"silent, gossip says alive":       {heartbeat.State{Since: ago(0)}, member(true), false, true, 0},
	} {
		l := newLiveness(t.Context(), &fakeBeats{c.state}, &fakeGossip{c.gossip}, dueClock{FakeClock: clocktesting.NewFakeClock(now)})
		if alive, known := l.Alive("n1"); alive != c.alive || known != c.known {
			t.Errorf("%s: alive %v, known %v", name, alive, known)
		}
		if _, again := l.verdict("n1"); again != c.again {
			t.Errorf("%s: again after %v, want %v", name, again, c.again)
		}
	}
}

// dueClock hands due functions to the test: a fake clock would call them with
// its lock held, and they ask for the time.
type dueClock struct {
	*clocktesting.FakeClock
	due chan func()
}

// Stood: this clock never does.
func (c dueClock) Stood() time.Time { return time.Time{} }

// step lets time pass at once, and then calls what became due.
func (c dueClock) step(d time.Duration) {
	c.Step(d)
	for len(c.due) > 0 {
		(<-c.due)()
	}
}

func (c dueClock) AfterFunc(d time.Duration, f func()) clock.Timer {
	return c.FakeClock.AfterFunc(d, func() { c.due <- f })
}

// told drains what was told without waiting.
func told(l *liveness) (n int) {
	for {
		select {
		case <-l.Changes():
			n++
		default:
			return n
		}
	}
}

// TestBrokenStreamIsToldAgain breaks a stream: at the end of its grace the node
// is told of again, unless it came back.
func TestBrokenStreamIsToldAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		back bool
		want int
	}{"stays away": {false, 1}, "comes back": {true, 0}} {
		ctx, stop := context.WithCancel(t.Context())
		clk := dueClock{clocktesting.NewFakeClock(time.Unix(1000, 0)), make(chan func(), 1)}
		beats := &fakeBeats{heartbeat.State{Since: clk.Now(), Reset: true}}
		l := newLiveness(ctx, beats, &fakeGossip{member(true)}, clk)
		l.changed(ctx, "n1")
		if n := told(l); n != 1 {
			t.Errorf("%s: told %d times at first, want 1", name, n)
		}
		if alive, _ := l.Alive("n1"); !alive {
			t.Errorf("%s: lost without a grace", name)
		}
		if c.back {
			beats.state = heartbeat.State{Alive: true, Since: clk.Now(), Heard: clk.Now()}
		}
		clk.Step(reconnect)
		(<-clk.due)()
		if n := told(l); n != c.want {
			t.Errorf("%s: told %d times after the grace, want %d", name, n, c.want)
		}
		if alive, _ := l.Alive("n1"); alive != c.back {
			t.Errorf("%s: alive %v after the grace", name, alive)
		}
		stop()
	}
}

// TestStallOfTheServerLosesNobody: agents break their streams off when the
// server stands still, and have time to come back; who does not is lost.
func TestStallOfTheServerLosesNobody(t *testing.T) {
	t.Parallel()
	base := dueClock{clocktesting.NewFakeClock(time.Unix(1000, 0)), make(chan func(), 64)}
	clk := awake.New(base, slog.New(slog.DiscardHandler))
	run := func(d time.Duration) {
		const look = 250 * time.Millisecond
		for range d / look {
			base.step(look)
			clk.Now()
		}
	}
	run(10 * time.Second)
	beats := &fakeBeats{heartbeat.State{Alive: true, Since: clk.Now(), Heard: clk.Now()}}
	l := newLiveness(t.Context(), beats, &fakeGossip{member(false)}, clk)
	alive := func(what string, want bool) {
		t.Helper()
		if got, _ := l.Alive("n1"); got != want {
			t.Errorf("%s: alive %v", what, got)
		}
	}
	base.step(10 * time.Second)
	alive("stream open, gossip says dead", true)
	beats.state = heartbeat.State{Reset: true, Since: clk.Now(), Heard: beats.state.Heard}
	alive("stream broken off during the stall, gossip says dead", true)
	run(awake.Settle + time.Second)
	alive("stream broken off, on its way back", true)
	run(time.Second)
	alive("stream broken off, never back", false)
	beats.state = heartbeat.State{Reset: true, Since: clk.Now()}
	alive("stream broken off later", false)
}
