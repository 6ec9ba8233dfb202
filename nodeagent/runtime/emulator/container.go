package emulator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

type container struct {
	config runtime.ContainerConfig
	image  *image
	state  runtime.Container
	output *output
	stdin  *stdin

	cancel  context.CancelFunc
	signals chan int
	done    chan struct{} // closed when it has exited
	killed  int           // the signal that ended it, if SIGKILL or OOM
	oom     bool
}

// kill ends the process at once. The runtime's mu is held.
func (c *container) kill(signal int) {
	if c.cancel != nil && c.state.State == runtime.StateRunning {
		c.killed = signal
		c.cancel()
	}
}

func (r *Runtime) container(id string) (*container, error) {
	c := r.containers[id]
	if c == nil {
		return nil, fmt.Errorf("container %q does not exist", id)
	}
	return c, nil
}

// Create implements runtime.Interface.
func (r *Runtime) Create(ctx context.Context, config runtime.ContainerConfig) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "Create", config.PodUID+"/"+config.Name); err != nil {
		return "", err
	}
	s := r.sandboxes[config.PodUID]
	if s == nil || !s.state.Ready {
		return "", fmt.Errorf("create container %q: pod %q has no sandbox", config.Name, config.PodUID)
	}
	for id, c := range r.containers {
		if c.config.PodUID == config.PodUID && c.config.Name == config.Name && c.config.Attempt == config.Attempt {
			return id, nil
		}
	}
	img := r.findImage(config.Image)
	if img == nil {
		return "", fmt.Errorf("create container %q: image %q: %w", config.Name, config.Image, runtime.ErrImageNotFound)
	}
	r.nextID++
	id := "emulated-" + strconv.Itoa(r.nextID)
	c := &container{config: config, image: img, signals: make(chan int, 16), done: make(chan struct{}), state: runtime.Container{
		ID: id, PodUID: config.PodUID, Name: config.Name, Attempt: config.Attempt,
		ImageRef: config.Image, ImageID: img.ID, State: runtime.StateCreated, Created: r.clock.Now(),
		LogPath: config.LogPath, Labels: maps.Clone(config.Labels),
	}}
	r.containers[id] = c
	return id, nil
}

// Start implements runtime.Interface. An error of FailNext also marks the
// container as one that could not start, as a runtime does.
func (r *Runtime) Start(ctx context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	failure := r.enter(ctx, "Start", id)
	c, err := r.container(id)
	if err != nil {
		return err
	}
	if c.state.State == runtime.StateRunning {
		return failure
	}
	if c.state.State == runtime.StateExited {
		return fmt.Errorf("start container %q: it has exited", id)
	}
	program, args, err := r.program(c)
	if failure == nil {
		failure = err
	}
	if failure == nil && c.config.LogPath != "" {
		c.output, failure = openOutput(c.config.LogPath, r.clock)
	}
	if failure != nil {
		c.fail(r.clock.Now(), failure)
		close(c.done)
		return failure
	}
	if c.output == nil {
		c.output = &output{clock: r.clock}
	}
	c.stdin = newStdin(c.config.Stdin, c.config.StdinOnce)
	r.nextPID++
	c.state.State, c.state.Started, c.state.PID = runtime.StateRunning, r.clock.Now(), r.nextPID
	p := r.process(c, args)
	p.Stdin, p.Stdout, p.Stderr = c.stdin, c.output.stdout(), c.output.stderr(c.config.TTY)
	p.Signals, p.PID = c.signals, c.state.PID
	r.publish(runtime.Event{Kind: runtime.EventStarted, ContainerID: id, PodUID: c.state.PodUID, Time: c.state.Started})

	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	p.oom = func() { r.oomKill(c) }
	r.running.Add(1)
	go r.run(run, c, program, p)
	return nil
}

func (r *Runtime) run(ctx context.Context, c *container, program Program, p *Process) {
	defer r.running.Done()
	code := program(ctx, p)
	r.mu.Lock()
	defer r.mu.Unlock()
	c.cancel()
	c.stdin.close()
	c.output.close()
	if c.killed != 0 {
		code = signalledBase + c.killed
	}
	c.state.State, c.state.ExitCode, c.state.OOMKilled, c.state.PID = runtime.StateExited, code, c.oom, 0
	c.state.Finished = r.clock.Now()
	close(c.done)
	for _, kind := range []runtime.EventKind{runtime.EventExited, runtime.EventLogged} {
		r.publish(runtime.Event{Kind: kind, ContainerID: c.state.ID, PodUID: c.state.PodUID, ExitCode: code, OOMKilled: c.oom, Time: c.state.Finished})
	}
}

func (r *Runtime) oomKill(c *container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.oom = true
	r.publish(runtime.Event{Kind: runtime.EventOOM, ContainerID: c.state.ID, PodUID: c.state.PodUID, Time: r.clock.Now()})
	c.kill(signalKill)
}

// Signal implements runtime.Interface.
func (r *Runtime) Signal(ctx context.Context, id string, signal int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "Signal", id); err != nil {
		return err
	}
	c := r.containers[id]
	if c == nil || c.state.State != runtime.StateRunning {
		return nil
	}
	if signal == signalKill {
		c.kill(signal)
		return nil
	}
	select {
	case c.signals <- signal:
	default: // as with the kernel's: one that already waits is not queued again
	}
	return nil
}

// User implements runtime.Interface: the user is who the container asks for.
func (r *Runtime) User(ctx context.Context, id string) (*runtime.User, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "User", id); err != nil {
		return nil, err
	}
	c, err := r.container(id)
	if err != nil {
		return nil, err
	}
	user := &runtime.User{}
	if c.config.RunAsUser != nil {
		user.UID = *c.config.RunAsUser
	}
	if c.config.RunAsGroup != nil {
		user.GID = *c.config.RunAsGroup
	}
	user.Groups = append([]int64{user.GID}, c.config.SupplementalGroups...)
	return user, nil
}

// Remove implements runtime.Interface.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	if err := r.begin(ctx, "Remove", id); err != nil {
		return err
	}
	return r.remove(ctx, id)
}

func (r *Runtime) remove(ctx context.Context, id string) error {
	r.mu.Lock()
	c := r.containers[id]
	if c == nil {
		r.mu.Unlock()
		return nil
	}
	c.kill(signalKill)
	state := c.state.State
	r.mu.Unlock()
	if state == runtime.StateRunning {
		if err := waitAll(ctx, []<-chan struct{}{c.done}); err != nil {
			return fmt.Errorf("remove container %q: %w", id, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, id)
	return nil
}

// Update implements runtime.Interface.
func (r *Runtime) Update(ctx context.Context, id string, resources runtime.Resources) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "Update", id); err != nil {
		return err
	}
	c, err := r.container(id)
	if err != nil {
		return err
	}
	if c.state.State != runtime.StateRunning {
		return fmt.Errorf("update container %q: it is %s", id, c.state.State)
	}
	c.config.Resources = resources
	return nil
}

// List implements runtime.Interface.
func (r *Runtime) List(ctx context.Context) ([]runtime.Sandbox, []runtime.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "List", ""); err != nil {
		return nil, nil, err
	}
	var sandboxes []runtime.Sandbox
	for _, uid := range slices.Sorted(maps.Keys(r.sandboxes)) {
		sandboxes = append(sandboxes, r.sandboxes[uid].state)
	}
	var containers []runtime.Container
	for _, id := range slices.Sorted(maps.Keys(r.containers)) {
		containers = append(containers, r.containers[id].state)
	}
	return sandboxes, containers, nil
}
