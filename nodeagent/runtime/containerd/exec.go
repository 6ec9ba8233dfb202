package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	apioptions "github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

const (
	// drainPatience is how long output is read after the process has ended: a
	// child that it left behind may hold the pipe open for ever.
	drainPatience = 2 * time.Second
	retryWait     = 50 * time.Millisecond
)

// Exec implements runtime.Interface. It goes on while containerd is restarted;
// a process whose agent has died is ended when the agent is back.
func (r *Runtime) Exec(ctx context.Context, id string, config runtime.ExecConfig) (int, error) {
	if len(config.Command) == 0 {
		return 0, fmt.Errorf("exec in container %q: command is empty", id)
	}
	process, err := r.execProcess(ctx, id, config)
	if err != nil {
		return 0, fmt.Errorf("exec in container %q: %w", id, err)
	}
	e := &execution{runtime: r, id: id, execID: r.nextExecID()}
	code, err := e.run(ctx, process, config)
	if err != nil {
		return code, fmt.Errorf("exec in container %q: %w", id, err)
	}
	return code, nil
}

// nextExecID is unique over restarts of the agent: an orphan may still be there.
func (r *Runtime) nextExecID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.execNumber++
	return r.execPrefix + strconv.Itoa(r.execNumber)
}

func (r *Runtime) execProcess(ctx context.Context, id string, config runtime.ExecConfig) (*anypb.Any, error) {
	record, err := r.client.ContainerService().Get(r.in(ctx), id)
	if err != nil {
		return nil, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(record.Spec.GetValue(), &spec); err != nil {
		return nil, fmt.Errorf("read specification: %w", err)
	}
	process := spec.Process
	process.Args, process.Terminal = config.Command, config.TTY
	if config.TTY {
		process.Env = append(process.Env, "TERM=xterm")
	}
	text, err := json.Marshal(process)
	if err != nil {
		return nil, err
	}
	return &anypb.Any{TypeUrl: processType, Value: text}, nil
}

// execution is one exec.
type execution struct {
	runtime *Runtime
	id      string
	execID  string
}

func (e *execution) run(ctx context.Context, process *anypb.Any, config runtime.ExecConfig) (int, error) {
	r := e.runtime
	started := make(chan struct{})
	stdin := config.Stdin
	if stdin != nil {
		stdin = &closingReader{Reader: stdin, atEnd: func() {
			select {
			case <-started:
				e.closeStdin(ctx)
			case <-ctx.Done():
			}
		}}
	}
	// The shim wants both FIFOs or none.
	opts := []cio.Opt{cio.WithStreams(stdin, orDiscard(config.Stdout), orDiscard(config.Stderr)), cio.WithFIFODir(filepath.Join(r.config.RunDir, "io"))}
	if config.TTY {
		opts = append(opts, cio.WithTerminal)
	}
	streams, err := cio.NewCreator(opts...)(e.execID)
	if err != nil {
		return 0, fmt.Errorf("make streams: %w", err)
	}
	defer func() { _ = streams.Close() }() // removes FIFOs; a left one is only a file
	paths := streams.Config()
	_, err = r.tasks.Exec(r.in(ctx), &tasks.ExecProcessRequest{
		ContainerID: e.id, ExecID: e.execID, Spec: process,
		Stdin: paths.Stdin, Stdout: paths.Stdout, Stderr: paths.Stderr, Terminal: paths.Terminal,
	})
	if err == nil {
		defer e.delete(context.WithoutCancel(ctx))
		err = e.start(ctx)
	}
	if err != nil {
		streams.Cancel()
		return 0, startError(err)
	}
	close(started)
	return e.finish(ctx, streams, config)
}

// start starts the process. When containerd goes away meanwhile, whether it
// was started is asked when containerd is back.
func (e *execution) start(ctx context.Context) error {
	r := e.runtime
	_, err := r.tasks.Start(r.in(ctx), &tasks.StartRequest{ContainerID: e.id, ExecID: e.execID})
	for status.Code(err) == codes.Unavailable && e.pause(ctx) == nil {
		answer, getErr := r.tasks.Get(r.in(ctx), &tasks.GetRequest{ContainerID: e.id, ExecID: e.execID})
		switch {
		case getErr != nil:
			err = getErr
		case answer.Process.Status != tasktypes.Status_CREATED:
			return nil
		default:
			_, err = r.tasks.Start(r.in(ctx), &tasks.StartRequest{ContainerID: e.id, ExecID: e.execID})
		}
	}
	return err
}

// pause is the time between two questions to a containerd that is away.
func (e *execution) pause(ctx context.Context) error {
	timer := e.runtime.clock.NewTimer(retryWait)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish waits for the process and its output.
func (e *execution) finish(ctx context.Context, streams cio.IO, config runtime.ExecConfig) (int, error) {
	wait, stop := context.WithCancel(ctx)
	defer stop()
	if config.Timeout > 0 {
		timer := e.runtime.clock.NewTimer(config.Timeout)
		defer timer.Stop()
		go func() {
			select {
			case <-timer.C():
				stop()
			case <-wait.Done():
			}
		}()
	}
	if config.Resize != nil {
		go e.resize(wait, config.Resize)
	}
	code, err := e.wait(wait)
	if err != nil {
		e.kill(context.WithoutCancel(ctx))
		streams.Cancel()
		if ctx.Err() == nil && wait.Err() != nil {
			return 0, fmt.Errorf("%q ran longer than %v: %w", config.Command[0], config.Timeout, context.DeadlineExceeded)
		}
		return 0, err
	}
	drained := make(chan struct{})
	go func() {
		streams.Wait()
		close(drained)
	}()
	patience := e.runtime.clock.NewTimer(drainPatience)
	defer patience.Stop()
	select {
	case <-drained:
	case <-patience.C():
		streams.Cancel()
	case <-ctx.Done():
		streams.Cancel()
	}
	return code, nil
}

// wait asks for the exit code, again when containerd was restarted meanwhile.
func (e *execution) wait(ctx context.Context) (int, error) {
	r := e.runtime
	for {
		answer, err := r.tasks.Wait(r.in(ctx), &tasks.WaitRequest{ContainerID: e.id, ExecID: e.execID})
		if err == nil {
			return int(answer.ExitStatus), nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if status.Code(err) != codes.Unavailable {
			return 0, fmt.Errorf("wait: %w", errgrpc.ToNative(err))
		}
		if err := e.pause(ctx); err != nil {
			return 0, err
		}
	}
}

func (e *execution) kill(ctx context.Context) {
	r := e.runtime
	_, err := r.tasks.Kill(r.in(ctx), &tasks.KillRequest{ContainerID: e.id, ExecID: e.execID, Signal: uint32(sigKill)})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		r.log.Warn("end exec", "container", e.id, "error", err)
		return
	}
	wait, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	if _, err := e.wait(wait); err != nil && !errdefs.IsNotFound(err) {
		r.log.Warn("wait for end of exec", "container", e.id, "error", err)
	}
}

func (e *execution) delete(ctx context.Context) {
	r := e.runtime
	_, err := r.tasks.DeleteProcess(r.in(ctx), &tasks.DeleteProcessRequest{ContainerID: e.id, ExecID: e.execID})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		r.log.Warn("delete exec", "container", e.id, "error", err)
	}
}

func (e *execution) closeStdin(ctx context.Context) {
	r := e.runtime
	_, err := r.tasks.CloseIO(r.in(ctx), &tasks.CloseIORequest{ContainerID: e.id, ExecID: e.execID, Stdin: true})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) && ctx.Err() == nil {
		r.log.Debug("close stdin", "container", e.id, "error", err)
	}
}

func (e *execution) resize(ctx context.Context, sizes <-chan runtime.TerminalSize) {
	r := e.runtime
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			_, err := r.tasks.ResizePty(r.in(ctx), &tasks.ResizePtyRequest{
				ContainerID: e.id, ExecID: e.execID, Width: uint32(size.Width), Height: uint32(size.Height),
			})
			if err != nil && ctx.Err() == nil {
				r.log.Debug("resize terminal", "container", e.id, "error", errgrpc.ToNative(err))
			}
		case <-ctx.Done():
			return
		}
	}
}

// closingReader calls atEnd once its reader has no more.
type closingReader struct {
	io.Reader
	atEnd func()
}

func (c *closingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err != nil && c.atEnd != nil {
		c.atEnd()
		c.atEnd = nil
	}
	return n, err
}

// endOrphanExecs ends processes whose agent has died: nobody reads what they
// write, so they would block, and nobody would learn how they ended.
func (r *Runtime) endOrphanExecs(ctx context.Context) error {
	states, err := r.listTasks(ctx)
	if err != nil {
		return err
	}
	for id, state := range states {
		if state.stopped || state.created {
			continue
		}
		answer, err := r.tasks.ListPids(r.in(ctx), &tasks.ListPidsRequest{ContainerID: id})
		if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) {
			continue // it has just ended
		}
		if err != nil {
			return fmt.Errorf("list processes of container %q: %w", id, err)
		}
		for _, p := range answer.Processes {
			var details apioptions.ProcessDetails
			if p.Info == nil || proto.Unmarshal(p.Info.Value, &details) != nil ||
				details.ExecID == "" || strings.HasPrefix(details.ExecID, r.execPrefix) {
				continue
			}
			e := &execution{runtime: r, id: id, execID: details.ExecID}
			e.kill(ctx)
			e.delete(ctx)
		}
	}
	return nil
}
