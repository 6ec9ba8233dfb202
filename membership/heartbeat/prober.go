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
	// lost is told when probes have found nobody; nil: nobody is told.
	lost func()

	mu                sync.Mutex // guards what follows
	server            string
	key               []byte
	node              string
	echoed            time.Time
	counter, answered uint64
	missed            int // probes since the last answer or echo
}

func newProber(send func(string, []byte), clock clock.WithTicker) *prober {
	return &prober{send: send, clock: clock, wake: make(chan struct{}, 1)}
}

// opened begins with a new stream's key.
func (p *prober) opened(server string, key []byte, node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server, p.key, p.node, p.echoed, p.counter, p.answered = server, key, node, p.clock.Now(), 0, 0
	p.missed = 0
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// echo says that the stream works.
func (p *prober) echo() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.echoed, p.missed = p.clock.Now(), 0
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
		p.answered, p.missed = max(p.answered, m.counter), 0
	}
}

// nobody is how many probes without an answer mean that the server is gone: at a
// loss of a fifth each way it happens to one row of them in 3,500.
const nobody = 8

// miss counts a probe, and tells whether that many have no answer now.
func (p *prober) miss() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missed++
	return p.missed == nobody+1 // the last one has not had its time yet
}

// run sends probes while echoes are missing, until ctx ends.
func (p *prober) run(ctx context.Context) {
	for {
		server, message, wait := p.next()
		if message != nil {
			p.send(server, message)
			if p.miss() && p.lost != nil {
				p.lost()
			}
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
