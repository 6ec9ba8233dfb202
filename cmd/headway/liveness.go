package main

import (
	"context"
	"sync"
	"time"

	"github.com/headway-sh/headway/membership"
	"github.com/headway-sh/headway/membership/heartbeat"
)

const (
	// reconnect is how long a node whose stream broke has to open another one,
	// while gossip still sees its machine.
	reconnect = 1500 * time.Millisecond
	// silence is how long a stream is silent before gossip's word that the machine
	// is gone is believed: more than one beat is missing.
	silence = 2 * heartbeat.Interval
)

// hearing is the heartbeat server.
type hearing interface {
	State(node string) heartbeat.State
	Watch(changed chan<- string) (stop func())
}

// gossiping is the second witness.
type gossiping interface {
	Members() []membership.Member
	Watch(changes chan<- membership.Member) (stop func())
}

// wakefulness is the clock of the heartbeat server: it stands still when this
// process does.
type wakefulness interface {
	heartbeat.Clock
	// Stood is its time when it did so last.
	Stood() time.Time
}

// liveness tells the node-life controller which nodes are alive: those that the
// heartbeat server hears, by stream or by probes. Gossip makes a verdict quicker or gives a broken
// stream a moment; what it says alone changes nothing.
type liveness struct {
	beats   hearing
	gossip  gossiping
	clock   wakefulness
	changes chan string

	mu      sync.Mutex      // guards what follows
	told    map[string]bool // the last verdict of each node
	looking map[string]bool // nodes with a timer
}

// newLiveness listens until ctx ends.
func newLiveness(ctx context.Context, beats hearing, gossip gossiping, clock wakefulness) *liveness {
	l := &liveness{beats: beats, gossip: gossip, clock: clock, changes: make(chan string, 4096), told: map[string]bool{}, looking: map[string]bool{}}
	streams, members := make(chan string, 4096), make(chan membership.Member, 4096)
	stopStreams, stopMembers := beats.Watch(streams), gossip.Watch(members)
	go func() {
		defer stopStreams()
		defer stopMembers()
		for {
			select {
			case <-ctx.Done():
				return
			case node := <-streams:
				l.changed(ctx, node)
			case m := <-members:
				if m.Meta.Node != "" {
					l.changed(ctx, m.Meta.Node)
				}
			}
		}
	}()
	return l
}

// changed tells of a node, and looks again when what is said of it may differ
// though nothing further happened.
func (l *liveness) changed(ctx context.Context, node string) {
	l.tell(node)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.look(ctx, node)
}

// look remembers the verdict and looks again when it may change; l.mu is held.
func (l *liveness) look(ctx context.Context, node string) {
	alive, again := l.verdict(node)
	l.told[node] = alive
	if again == 0 || l.looking[node] {
		return
	}
	l.looking[node] = true
	l.clock.AfterFunc(again, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.looking, node)
		if ctx.Err() != nil {
			return
		}
		before := l.told[node]
		if l.look(ctx, node); l.told[node] != before {
			l.tell(node)
		}
	})
}

func (l *liveness) tell(node string) {
	select {
	case l.changes <- node:
	default:
	}
}

// Alive implements what the node-life controller asks.
func (l *liveness) Alive(node string) (alive, known bool) {
	alive, _ = l.verdict(node)
	return alive, !l.beats.State(node).Since.IsZero()
}

func (l *liveness) Changes() <-chan string { return l.changes }

// verdict says whether the node is alive, and when to ask again if nothing is
// heard until then; 0: never.
func (l *liveness) verdict(node string) (alive bool, again time.Duration) {
	state, now := l.beats.State(node), l.clock.Now()
	seen, known := l.seen(node)
	switch {
	case now.Sub(state.Probed) < heartbeat.Patience:
		// Single packets went both ways: a link that loses many is no lost node.
		until := state.Probed.Add(heartbeat.Patience)
		if !state.Alive && state.Reset && !state.Probed.After(state.Since) {
			until = state.Since.Add(reconnect) // they were before the stream broke
		}
		return until.After(now), max(until.Sub(now), 0)
	case !state.Alive && state.Reset && state.Since.Equal(l.clock.Stood()):
		// Agents that this server did not answer have broken their streams off, and
		// gossip's opinion is of then.
		left := state.Since.Add(reconnect).Sub(now)
		return left > 0, max(left, 0)
	case state.Since.IsZero() || !known:
		return state.Alive, 0
	case state.Alive && !seen && !state.Heard.IsZero():
		left := state.Heard.Add(silence).Sub(now)
		if left > 0 {
			return true, left
		}
		return false, heartbeat.Interval // it may beat again
	case !state.Alive && state.Reset && seen:
		left := state.Since.Add(reconnect).Sub(now)
		return left > 0, max(left, 0)
	}
	return state.Alive, 0
}

// seen is gossip's opinion of a node's machine; known is false when gossip has
// not heard of it. A machine may have been a member under an older name.
func (l *liveness) seen(node string) (alive, known bool) {
	for _, m := range l.gossip.Members() {
		if m.Meta.Node == node {
			known, alive = true, alive || m.Alive
		}
	}
	return alive, known
}
