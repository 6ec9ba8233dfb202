package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/headway-sh/headway/internal/failpoint"
	"github.com/headway-sh/headway/nodeagent/logkeeper"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

const (
	sigKill = unix.SIGKILL

	exitNotFound   = 127 // no such command
	exitNotRunable = 126 // a command that cannot be executed
	exitStartError = 128
	// exitUnknown is the code of a container whose end nobody saw, as a
	// node gives it after a reboot.
	exitUnknown = 255
)

// taskState is what containerd's shim says about a first process.
type taskState struct {
	pid      int
	created  bool
	stopped  bool
	unknown  bool // the shim does not answer, on a machine that is too busy
	exitCode int
	exitedAt time.Time
}

func stateOf(p *tasktypes.Process) *taskState {
	return &taskState{
		pid: int(p.Pid), created: p.Status == tasktypes.Status_CREATED,
		stopped:  p.Status == tasktypes.Status_STOPPED,
		unknown:  p.Status == tasktypes.Status_UNKNOWN,
		exitCode: int(p.ExitStatus), exitedAt: p.ExitedAt.AsTime(),
	}
}

// task is nil when there is none.
func (r *Runtime) task(ctx context.Context, id string) (*taskState, error) {
	answer, err := r.tasks.Get(r.in(ctx), &tasks.GetRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get task: %w", err)
	}
	return stateOf(answer.Process), nil
}

func (r *Runtime) listTasks(ctx context.Context) (map[string]*taskState, error) {
	answer, err := r.tasks.List(r.in(ctx), &tasks.ListTasksRequest{})
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", errgrpc.ToNative(err))
	}
	states := make(map[string]*taskState, len(answer.Tasks))
	for _, p := range answer.Tasks {
		id := p.ContainerID
		if id == "" {
			id = p.ID
		}
		states[id] = stateOf(p)
	}
	return states, nil
}

// Start implements runtime.Interface.
func (r *Runtime) Start(ctx context.Context, id string) error {
	m, err := r.lookup(ctx, id)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer r.pods.lock(m.PodUID)()
	l, err := r.readLife(id)
	if err != nil {
		return fmt.Errorf("start container %q: %w", m.Name, err)
	}
	switch l.state() {
	case runtime.StateRunning:
		return nil
	case runtime.StateExited:
		return fmt.Errorf("start container %q: it has exited", m.Name)
	}
	if err := r.start(ctx, id, m); err != nil {
		var refused *runtime.StartError
		if errors.As(err, &refused) {
			now := r.clock.Now()
			l = life{Started: now, Finished: now, ExitCode: refused.ExitCode, Reason: refused.Reason, Message: refused.Message}
			err = errors.Join(err, writeJSON(r.lifePath(id), l), r.discardTask(ctx, id), r.config.Keeper.Remove(ctx, id))
		}
		return fmt.Errorf("start container %q: %w", m.Name, err)
	}
	return nil
}

func (r *Runtime) start(ctx context.Context, id string, m *meta) error {
	kept := logkeeper.Container{
		ID: id, Stdout: r.ioPath(id, "out"), LogPath: m.LogPath,
		MaxSize: r.config.LogMaxSize, MaxFiles: r.config.LogMaxFiles,
	}
	if !m.TTY {
		kept.Stderr = r.ioPath(id, "err")
	}
	if err := r.config.Keeper.Add(ctx, kept); err != nil {
		return err
	}
	rootfs, err := r.mountsOf(ctx, id)
	if err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	request := &tasks.CreateTaskRequest{ContainerID: id, Terminal: m.TTY, Stdout: kept.Stdout, Stderr: kept.Stderr, Rootfs: rootfs}
	if m.Stdin {
		request.Stdin = r.ioPath(id, "in")
		if err := unix.Mkfifo(request.Stdin, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make FIFO for stdin: %w", err)
		}
	}
	// A task that an interrupted start left has not run: create it anew.
	if err := r.discardCreated(ctx, id); err != nil {
		return err
	}
	if _, err := r.tasks.Create(r.in(ctx), request); err != nil {
		return startError(err)
	}
	if err := failpoint.Hit(ctx, "containerd.task.created"); err != nil {
		return err
	}
	// Written before the start: should the agent die in between, the start is
	// known, and settling finds a task that was created and never ran.
	started := r.clock.Now()
	if err := writeJSON(r.lifePath(id), life{Started: started}); err != nil {
		return err
	}
	answer, err := r.tasks.Start(r.in(ctx), &tasks.StartRequest{ContainerID: id})
	if err != nil {
		return startError(err)
	}
	_ = answer.Pid // List asks the shim: the truth after a restart too
	r.publish(runtime.Event{Kind: runtime.EventStarted, ContainerID: id, PodUID: m.PodUID, Time: started})
	return failpoint.Hit(ctx, "containerd.start.after")
}

func (r *Runtime) mountsOf(ctx context.Context, id string) ([]*types.Mount, error) {
	r.mu.Lock()
	list := []mount.Mount(r.rootfs[id])
	r.mu.Unlock()
	if list == nil {
		var err error
		if list, err = r.snaps.Mounts(r.in(ctx), id); err != nil {
			return nil, err
		}
	}
	return mount.ToProto(list), nil
}

// startError tells what the runtime refused from what did not work for now.
func startError(err error) error {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return fmt.Errorf("create task: %w", errgrpc.ToNative(err))
	}
	message := status.Convert(err).Message()
	code := exitStartError
	switch {
	case strings.Contains(message, "executable file not found"), strings.Contains(message, "no such file or directory"):
		code = exitNotFound
	case strings.Contains(message, "permission denied"), strings.Contains(message, "exec format error"):
		code = exitNotRunable
	}
	return &runtime.StartError{Reason: "StartError", Message: message, ExitCode: code}
}

// discardCreated deletes a task that was created and not started.
func (r *Runtime) discardCreated(ctx context.Context, id string) error {
	t, err := r.task(ctx, id)
	if err != nil || t == nil {
		return err
	}
	if !t.created {
		return nil
	}
	if err := r.kill(ctx, id, sigKill, true); err != nil {
		return err
	}
	return r.discardTask(ctx, id)
}

// discardTask deletes the task; none is success.
func (r *Runtime) discardTask(ctx context.Context, id string) error {
	_, err := r.tasks.Delete(r.in(ctx), &tasks.DeleteTaskRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete task: %w", err)
	}
	return nil
}

// Signal implements runtime.Interface.
func (r *Runtime) Signal(ctx context.Context, id string, signal int) error {
	if err := r.kill(ctx, id, unix.Signal(signal), false); err != nil {
		return fmt.Errorf("signal container %q: %w", id, err)
	}
	return nil
}

func (r *Runtime) kill(ctx context.Context, id string, signal unix.Signal, all bool) error {
	_, err := r.tasks.Kill(r.in(ctx), &tasks.KillRequest{ContainerID: id, Signal: uint32(signal), All: all})
	if err = errgrpc.ToNative(err); err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	// A shim that goes because its container has ended may go while it is asked.
	if t, gone := r.task(ctx, id); gone == nil && (t == nil || t.stopped) {
		return nil
	}
	return fmt.Errorf("kill: %w", err)
}

// awaitExit waits until the first process has ended and settles it. The pod's
// lock is held. Waiting ends with ctx.
func (r *Runtime) awaitExit(ctx context.Context, id string) error {
	t, err := r.task(ctx, id)
	if err != nil {
		return err
	}
	if t != nil && !t.stopped && !t.created {
		_, err := r.tasks.Wait(r.in(ctx), &tasks.WaitRequest{ContainerID: id})
		if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("wait for exit: %w", err)
		}
	}
	return r.settleLocked(ctx, id)
}

// Update implements runtime.Interface.
func (r *Runtime) Update(ctx context.Context, id string, limits runtime.Resources) error {
	text, err := json.Marshal(resources(limits))
	if err != nil {
		return fmt.Errorf("update container %q: %w", id, err)
	}
	_, err = r.tasks.Update(r.in(ctx), &tasks.UpdateTaskRequest{
		ContainerID: id, Resources: &anypb.Any{TypeUrl: resourceType, Value: text},
	})
	if err != nil {
		return fmt.Errorf("update container %q: %w", id, errgrpc.ToNative(err))
	}
	return nil
}

func (r *Runtime) removeStdin(id string) error {
	if err := os.Remove(r.ioPath(id, "in")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
