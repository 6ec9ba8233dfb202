package probe

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
)

// Kind is what a probe is for.
type Kind string

const (
	// Startup holds the others back, Readiness decides about traffic, and
	// Liveness about the container's life.
	Startup   Kind = "Startup"
	Readiness Kind = "Readiness"
	Liveness  Kind = "Liveness"
)

const (
	firstEarly = 25 * time.Millisecond
	lastEarly  = 500 * time.Millisecond
)

// Result is what a probe's answers add up to, or, with Decided false, a single
// answer that was bad.
type Result struct {
	Container string
	ID        string
	Kind      Kind
	Success   bool
	// Decided says that a threshold has been reached.
	Decided bool
	Message string
}

// Container is a running container to be asked.
type Container struct {
	ID      string
	Spec    *corev1.Container
	PodIP   string
	Started time.Time
	// StartedUp says that the startup probe has succeeded before.
	StartedUp bool
	// Report gets results. It must not block.
	Report func(Result)
}

// Config is what probes need.
type Config struct {
	Clock clock.WithTicker
	// Exec runs a command in a container and gives its exit code and output.
	Exec func(ctx context.Context, id string, command []string, timeout time.Duration) (code int, output string, err error)
}

// Probes runs the probes of one pod's containers. Safe for concurrent use.
type Probes struct {
	Config
	mu      sync.Mutex // guards running and stopped
	running map[string]run
	stopped bool
	group   sync.WaitGroup
}

type run struct {
	id     string
	cancel context.CancelFunc
	quiet  context.CancelFunc // ends all but the readiness probe
}

// New makes an empty set.
func New(config Config) *Probes { return &Probes{Config: config, running: map[string]run{}} }

// Begin asks a container until it Ends; the same container again is success.
func (p *Probes) Begin(ctx context.Context, c Container) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	if old, ok := p.running[c.Spec.Name]; ok {
		if old.id == c.ID {
			return
		}
		old.cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	vital, quiet := context.WithCancel(ctx)
	p.running[c.Spec.Name] = run{c.ID, cancel, quiet}
	p.group.Go(func() {
		defer quiet()
		p.ask(ctx, vital, c)
	})
}

// Quiet stops all of a container's probes but readiness: one on its way out is
// to be known as unready once it is, and not to be killed for it.
func (p *Probes) Quiet(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r, ok := p.running[name]; ok {
		r.quiet()
	}
}

// End stops asking a container.
func (p *Probes) End(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r, ok := p.running[name]; ok {
		r.cancel()
		delete(p.running, name)
	}
}

// Stop ends all and waits for them.
func (p *Probes) Stop() {
	p.mu.Lock()
	p.stopped = true
	for name, r := range p.running {
		r.cancel()
		delete(p.running, name)
	}
	p.mu.Unlock()
	p.group.Wait()
}

// ask runs the probes until ctx ends, all but readiness until vital does.
func (p *Probes) ask(ctx, vital context.Context, c Container) {
	if c.Spec.StartupProbe != nil && !c.StartedUp && !p.loop(vital, c, Startup, c.Spec.StartupProbe) {
		return
	}
	var group sync.WaitGroup
	if c.Spec.ReadinessProbe != nil {
		group.Go(func() { p.loop(ctx, c, Readiness, c.Spec.ReadinessProbe) })
	}
	if c.Spec.LivenessProbe != nil {
		group.Go(func() { p.loop(vital, c, Liveness, c.Spec.LivenessProbe) })
	}
	group.Wait()
}

// loop asks one probe until ctx ends or, for a startup probe, until it has
// decided; it gives whether that was success.
func (p *Probes) loop(ctx context.Context, c Container, kind Kind, spec *corev1.Probe) bool {
	period := seconds(spec.PeriodSeconds, 10)
	t := tally{kind: kind, successes: max(int(spec.SuccessThreshold), 1), failures: threshold(spec.FailureThreshold)}
	if !p.wait(ctx, c.Started.Add(time.Duration(spec.InitialDelaySeconds)*time.Second).Sub(p.Clock.Now())) {
		return false
	}
	begun, early := p.Clock.Now(), firstEarly
	for {
		err := p.once(ctx, c, spec)
		if ctx.Err() != nil {
			return false
		}
		if err != nil && kind != Liveness && !t.ever && spec.Exec == nil && p.Clock.Now().Sub(begun)+early < period {
			if !p.wait(ctx, early) {
				return false
			}
			early = min(2*early, lastEarly)
			continue
		}
		success, decided := t.add(err == nil)
		result := Result{Container: c.Spec.Name, ID: c.ID, Kind: kind, Success: success, Decided: decided}
		if err != nil {
			result.Message = err.Error()
			result.Success = false
		}
		if decided || err != nil {
			c.Report(result)
		}
		if decided && kind == Startup {
			return success
		}
		if !p.wait(ctx, period) {
			return false
		}
	}
}

func (p *Probes) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := p.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}

// once asks a single time.
func (p *Probes) once(ctx context.Context, c Container, spec *corev1.Probe) error {
	timeout := seconds(spec.TimeoutSeconds, 1)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case spec.Exec != nil:
		code, output, err := p.Exec(ctx, c.ID, spec.Exec.Command, timeout)
		if err != nil {
			return fmt.Errorf("command: %w", err)
		}
		if code != 0 {
			return fmt.Errorf("command ended with exit code %d: %s", code, output)
		}
		return nil
	case spec.HTTPGet != nil:
		return httpGet(ctx, spec.HTTPGet, c)
	case spec.TCPSocket != nil:
		return tcpDial(ctx, spec.TCPSocket, c)
	case spec.GRPC != nil:
		return grpcCheck(ctx, spec.GRPC, c)
	}
	return nil
}

// tally counts answers in a row and says when they reach a threshold.
type tally struct {
	kind                Kind
	successes, failures int
	inRow               int
	last                bool
	ever                bool // succeeded at least once
	state, decided      bool
}

// add gives the state and whether this answer has decided it anew.
func (t *tally) add(ok bool) (success, decided bool) {
	if ok != t.last {
		t.inRow = 0
	}
	t.last = ok
	t.inRow++
	t.ever = t.ever || ok
	limit := t.failures
	if ok {
		limit = t.successes
	}
	if t.inRow < limit {
		return t.state, false
	}
	// A liveness failure is told again each time, should the kill be lost.
	decided = !t.decided || t.state != ok || t.kind == Liveness && !ok
	t.state, t.decided = ok, true
	return ok, decided
}

func seconds(n int32, otherwise int) time.Duration {
	if n <= 0 {
		return time.Duration(otherwise) * time.Second
	}
	return time.Duration(n) * time.Second
}

func threshold(n int32) int {
	if n <= 0 {
		return 3
	}
	return int(n)
}
