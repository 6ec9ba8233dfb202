package emulator

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Runtime is the emulated runtime. It is safe for concurrent use.
type Runtime struct {
	clock clock.Clock

	// Commands are programs by the first word of a container's command or of
	// an exec; they come after those of SetProgram. Set it before first use.
	Commands map[string]Program

	mu         sync.Mutex // guards all below
	sandboxes  map[string]*sandbox
	containers map[string]*container
	images     map[string]*image // by ID
	programs   map[string]Program
	registry   map[string]runtime.Image
	stats      map[string]runtime.Stats // what SetStats was told, by container
	private    map[string]string        // reference → the user who may pull it
	failures   map[string][]error
	calls      []Call
	watchers   map[*watcher]struct{}
	nextID     int
	nextPID    int
	closed     bool
	running    sync.WaitGroup
}

// Call is one call that the runtime got.
type Call struct {
	// Operation is the method's name; Subject the pod UID, container ID or
	// reference it was about.
	Operation, Subject string
	Err                error
}

type sandbox struct {
	config runtime.SandboxConfig
	state  runtime.Sandbox
}

var _ runtime.Interface = (*Runtime)(nil)

// New returns an empty runtime.
func New(clk clock.Clock) *Runtime {
	return &Runtime{
		clock:      clk,
		sandboxes:  map[string]*sandbox{},
		containers: map[string]*container{},
		images:     map[string]*image{},
		programs:   map[string]Program{},
		registry:   map[string]runtime.Image{},
		private:    map[string]string{},
		failures:   map[string][]error{},
		watchers:   map[*watcher]struct{}{},
		nextPID:    1000,
	}
}

// Close ends all programs and event streams and waits for them.
func (r *Runtime) Close() {
	r.mu.Lock()
	r.closed = true
	for _, c := range r.containers {
		c.kill(signalKill)
	}
	for w := range r.watchers {
		w.close()
	}
	clear(r.watchers)
	r.mu.Unlock()
	r.running.Wait()
}

// FailNext makes the next call of the operation (a method's name) return err
// and do nothing. Several are used in turn.
func (r *Runtime) FailNext(operation string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures[operation] = append(r.failures[operation], err)
}

// Calls lists the calls so far, oldest first.
func (r *Runtime) Calls() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Call(nil), r.calls...)
}

// enter notes a call and says whether it is to fail. mu is held.
func (r *Runtime) enter(ctx context.Context, operation, subject string) error {
	err := ctx.Err()
	if waiting := r.failures[operation]; err == nil && len(waiting) > 0 {
		err, r.failures[operation] = waiting[0], waiting[1:]
	}
	r.calls = append(r.calls, Call{Operation: operation, Subject: subject, Err: err})
	return err
}

// StartSandbox implements runtime.Interface.
func (r *Runtime) StartSandbox(ctx context.Context, config runtime.SandboxConfig) (runtime.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "StartSandbox", config.PodUID); err != nil {
		return runtime.Sandbox{}, err
	}
	if config.PodUID == "" {
		return runtime.Sandbox{}, fmt.Errorf("start sandbox: pod UID is empty")
	}
	if s := r.sandboxes[config.PodUID]; s != nil {
		s.state.Ready = true
		return s.state, nil
	}
	s := &sandbox{config: config, state: runtime.Sandbox{
		PodUID: config.PodUID, PodName: config.PodName, PodNamespace: config.PodNamespace,
		Ready: true, Created: r.clock.Now(), Labels: maps.Clone(config.Labels),
	}}
	if !config.HostNetwork {
		s.state.NetNS = "/emulated/" + config.PodUID + "/net"
	}
	r.sandboxes[config.PodUID] = s
	return s.state, nil
}

// MountImage implements runtime.Interface; the path leads nowhere.
func (r *Runtime) MountImage(ctx context.Context, podUID, name, image string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "MountImage", podUID+"/"+name); err != nil {
		return "", err
	}
	if r.findImage(image) == nil {
		return "", fmt.Errorf("mount image %q: %w", image, runtime.ErrImageNotFound)
	}
	return "/emulated/" + podUID + "/image-" + name, nil
}

// StopSandbox implements runtime.Interface.
func (r *Runtime) StopSandbox(ctx context.Context, podUID string) error {
	r.mu.Lock()
	err := r.enter(ctx, "StopSandbox", podUID)
	var ended []<-chan struct{}
	if err == nil {
		for _, c := range r.containers {
			if c.state.PodUID == podUID && c.state.State == runtime.StateRunning {
				c.kill(signalKill)
				ended = append(ended, c.done)
			}
		}
		if s := r.sandboxes[podUID]; s != nil {
			s.state.Ready = false
		}
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return waitAll(ctx, ended)
}

// RemoveSandbox implements runtime.Interface.
func (r *Runtime) RemoveSandbox(ctx context.Context, podUID string) error {
	if err := r.begin(ctx, "RemoveSandbox", podUID); err != nil {
		return err
	}
	r.mu.Lock()
	s := r.sandboxes[podUID]
	var left []string
	for id, c := range r.containers {
		if c.state.PodUID == podUID {
			left = append(left, id)
		}
	}
	r.mu.Unlock()
	if s == nil {
		return nil
	}
	for _, id := range left {
		if err := r.remove(ctx, id); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sandboxes, podUID)
	return nil
}

func (r *Runtime) begin(ctx context.Context, operation, subject string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.enter(ctx, operation, subject)
}

func waitAll(ctx context.Context, ended []<-chan struct{}) error {
	for _, done := range ended {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// DiskUsage implements runtime.Interface: nothing is written.
func (r *Runtime) DiskUsage(ctx context.Context, id string) (runtime.DiskUsage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "DiskUsage", id); err != nil {
		return runtime.DiskUsage{}, err
	}
	_, err := r.container(id)
	return runtime.DiskUsage{}, err
}

// SetStats makes Stats answer so for a container.
func (r *Runtime) SetStats(id string, stats runtime.Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stats == nil {
		r.stats = map[string]runtime.Stats{}
	}
	r.stats[id] = stats
}

// Stats implements runtime.Interface: one millisecond of processor time per
// second of life and the memory that the image's size says.
func (r *Runtime) Stats(ctx context.Context, id string) (runtime.Stats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "Stats", id); err != nil {
		return runtime.Stats{}, err
	}
	c, err := r.container(id)
	if err != nil {
		return runtime.Stats{}, err
	}
	if c.state.State != runtime.StateRunning {
		return runtime.Stats{}, fmt.Errorf("stats of container %q: it is %s", id, c.state.State)
	}
	if told, ok := r.stats[id]; ok {
		return told, nil
	}
	const memory = 1 << 20
	lived := r.clock.Since(c.state.Started)
	return runtime.Stats{
		Time: r.clock.Now(), CPUUsageNanoseconds: uint64(lived / time.Microsecond),
		MemoryUsage: memory, MemoryWorkingSet: memory, MemoryRSS: memory, Pids: 1,
	}, nil
}
