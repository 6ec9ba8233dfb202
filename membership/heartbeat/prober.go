package heartbeat

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// prober is an agent's part of the probes.
type prober struct {
	send  func(server string, message []byte)
	clock clock.WithTicker
	wake  chan struct{}

	mu                sync.Mutex // guards what follows
	server            string
	key               []byte
	node              string
	echoed            time.Time
	counter, answered uint64
}

func newProber(send func(string, []byte), clock clock.WithTicker) *prober {
	return &prober{send: send, clock: clock, wake: make(chan struct{}, 1)}
}

// opened begins with a new stream's key.
func (p *prober) opened(server string, key []byte, node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server, p.key, p.node, p.echoed, p.counter, p.answered = server, key, node, p.clock.Now(), 0, 0
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// echo says that the stream works.
func (p *prober) echo() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.echoed = p.clock.Now()
}

// receive takes an answer.
func (p *prober) receive(message []byte) {
	m, ok := readProbe(message)
	if !ok || m.kind != kindAnswer {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.node == p.node && believe(p.key, message) && m.counter <= p.counter {
		p.answered = max(p.answered, m.counter)
	}
}

// run sends probes while echoes are missing, until ctx ends.
func (p *prober) run(ctx context.Context) {
	for {
		server, message, wait := p.next()
		if message != nil {
			p.send(server, message)
		}
		var later <-chan time.Time
		stop := func() bool { return true }
		if wait > 0 {
			timer := p.clock.NewTimer(wait)
			later, stop = timer.C(), timer.Stop
		}
		select {
		case <-ctx.Done():
			stop()
			return
		case <-p.wake:
		case <-later:
		}
		stop()
	}
}

// next gives the probe that is due, if any, and when to ask again; 0: when a
// stream opens.
func (p *prober) next() (server string, message []byte, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	age := p.clock.Since(p.echoed)
	switch {
	case p.key == nil || age > probeFor:
		return "", nil, 0
	case age < probeAfter:
		return "", nil, probeAfter - age
	}
	p.counter++
	return p.server, probe{kindProbe, p.counter, p.answered, p.node}.seal(p.key), probeEvery
}
