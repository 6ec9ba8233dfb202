package emulator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// program finds what the container runs. mu is held.
func (r *Runtime) program(c *container) (Program, []string, error) {
	command, args := c.config.Command, c.config.Args
	if len(command) == 0 {
		command = c.image.entrypoint
		if len(args) == 0 {
			args = c.image.cmd
		}
	}
	argv := slices.Concat(command, args)
	for _, ref := range c.image.References {
		if program := r.programs[ref]; program != nil {
			return program, argv, nil
		}
	}
	if len(argv) == 0 {
		return Forever(), nil, nil
	}
	if program := r.Commands[argv[0]]; program != nil {
		return program, argv, nil
	}
	if r.Commands == nil {
		return Forever(), argv, nil
	}
	return nil, nil, noSuchCommand(argv[0])
}

func noSuchCommand(name string) error {
	const notFound = 127
	return &runtime.StartError{
		Reason: "StartError", ExitCode: notFound,
		Message: fmt.Sprintf("exec: %q: executable file not found in $PATH", name),
	}
}

func (r *Runtime) process(c *container, args []string) *Process {
	p := &Process{
		Args: args, Env: slices.Concat(c.image.Env, c.config.Env),
		Config: c.config, Clock: r.clock, oom: func() {},
	}
	if s := r.sandboxes[c.config.PodUID]; s != nil {
		p.Hostname = s.config.Hostname
	}
	return p
}

// fail marks the container as one that could not be started.
func (c *container) fail(now time.Time, err error) {
	c.state.State, c.state.Finished = runtime.StateExited, now
	c.state.Reason, c.state.Message, c.state.ExitCode = "StartError", err.Error(), 128
	var start *runtime.StartError
	if errors.As(err, &start) {
		c.state.Reason, c.state.ExitCode = start.Reason, start.ExitCode
	}
}

// Exec implements runtime.Interface: the command's first word is looked up in
// Commands.
func (r *Runtime) Exec(ctx context.Context, id string, config runtime.ExecConfig) (int, error) {
	r.mu.Lock()
	err := r.enter(ctx, "Exec", id)
	var c *container
	if err == nil {
		c, err = r.container(id)
	}
	if err == nil && c.state.State != runtime.StateRunning {
		err = fmt.Errorf("exec in container %q: it is %s", id, c.state.State)
	}
	if err == nil && len(config.Command) == 0 {
		err = fmt.Errorf("exec in container %q: command is empty", id)
	}
	if err != nil {
		r.mu.Unlock()
		return 0, err
	}
	program := r.Commands[config.Command[0]]
	p := r.process(c, config.Command)
	r.nextPID++
	p.PID = r.nextPID
	r.mu.Unlock()
	if program == nil {
		return 0, fmt.Errorf("exec in container %q: %w", id, noSuchCommand(config.Command[0]))
	}
	return r.exec(ctx, c, program, p, config)
}

func (r *Runtime) exec(ctx context.Context, c *container, program Program, p *Process, config runtime.ExecConfig) (int, error) {
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	p.Stdin, p.Stdout, p.Stderr = orEmpty(config.Stdin), orDiscard(config.Stdout), orDiscard(config.Stderr)
	ended := make(chan int, 1)
	r.running.Add(1)
	go func() {
		defer r.running.Done()
		ended <- program(run, p)
	}()
	var timeout <-chan time.Time
	if config.Timeout > 0 {
		timer := r.clock.NewTimer(config.Timeout)
		defer timer.Stop()
		timeout = timer.C()
	}
	select {
	case code := <-ended:
		return code, nil
	case <-timeout:
		return 0, fmt.Errorf("exec %q in container %q: %w", config.Command[0], c.state.ID, context.DeadlineExceeded)
	case <-c.done:
		return signalledBase + signalKill, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Attach implements runtime.Interface.
func (r *Runtime) Attach(ctx context.Context, id string, streams runtime.Streams) error {
	r.mu.Lock()
	err := r.enter(ctx, "Attach", id)
	var c *container
	if err == nil {
		c, err = r.container(id)
	}
	if err == nil && c.state.State != runtime.StateRunning {
		err = fmt.Errorf("attach to container %q: it is %s", id, c.state.State)
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	detach := c.output.attach(orDiscard(streams.Stdout), orDiscard(streams.Stderr))
	defer detach()
	if streams.Stdin != nil {
		r.running.Add(1)
		go func() {
			defer r.running.Done()
			c.stdin.copyFrom(streams.Stdin)
		}()
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
