package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/headway-sh/headway/internal/failpoint"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

// ended is the life of a container whose task has stopped. The cgroup is
// still there, so whether the kernel killed it for memory is known even when
// nobody listened to events.
func (r *Runtime) ended(m *meta, l life, t *taskState) life {
	l.Finished, l.ExitCode = t.exitedAt, t.exitCode
	l.OOMKilled = t.exitCode != 0 && r.host.cgroups().OOMKills(m.Cgroup) > 0
	return l
}

// errNoAnswer says that a shim did not tell in time whether its container runs.
var errNoAnswer = errors.New("the shim does not answer")

// settle writes down how a container ended, then lets go of its task and its
// log. Whatever interrupts it, doing it again comes to the same end:
//
//	write life file ──▶ EventExited ──▶ delete task ──▶ log keeper writes the rest ──▶ EventLogged
//
// To delete a task costs a process of runc, which who waits for the exit is
// spared.
func (r *Runtime) settle(ctx context.Context, id string) error {
	m, err := r.lookup(ctx, id)
	if errors.Is(err, errUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.pods.lock(m.PodUID)()
	return r.settleLocked(ctx, id)
}

// settleLocked is settle with the pod's lock held.
func (r *Runtime) settleLocked(ctx context.Context, id string) error {
	m, err := r.lookup(ctx, id)
	if errors.Is(err, errUnknown) {
		return nil // removed while the lock was waited for
	}
	if err != nil {
		return err
	}
	l, err := r.readLife(id)
	if err != nil {
		return err
	}
	t, err := r.task(ctx, id)
	if err != nil {
		return err
	}
	news := false
	if t != nil && t.unknown && l.state() == runtime.StateRunning {
		return errNoAnswer
	}
	switch {
	case l.Finished.IsZero() && t != nil && t.stopped:
		l, news = r.ended(m, l, t), true
	case l.state() == runtime.StateRunning && (t == nil || t.created):
		// The shim is gone (a reboot, most likely) or the agent died at the
		// moment of the start: it will not run any more.
		l.Finished, l.ExitCode, news = r.clock.Now(), exitUnknown, true
		l.Reason, l.Message = "ContainerStatusUnknown", "the container's end was not seen"
	case l.state() != runtime.StateExited:
		return nil // it lives
	}
	if news {
		if err := writeJSON(r.lifePath(id), l); err != nil {
			return fmt.Errorf("write down exit: %w", err)
		}
		r.publish(runtime.Event{
			Kind: runtime.EventExited, ContainerID: id, PodUID: m.PodUID, ExitCode: l.ExitCode, OOMKilled: l.OOMKilled, Time: l.Finished,
		})
	}
	if err := failpoint.Hit(ctx, "containerd.exit.recorded"); err != nil {
		return err
	}
	if t != nil {
		if err := r.discardTask(ctx, id); err != nil {
			return err
		}
	}
	if err := r.config.Keeper.Remove(ctx, id); err != nil {
		return err
	}
	if news {
		r.publish(runtime.Event{Kind: runtime.EventLogged, ContainerID: id, PodUID: m.PodUID, ExitCode: l.ExitCode, OOMKilled: l.OOMKilled, Time: l.Finished})
	}
	return nil
}

// settleAll settles every container, after a time in which events were lost.
func (r *Runtime) settleAll(ctx context.Context) error {
	records, err := r.client.ContainerService().List(r.in(ctx))
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	var failed []error
	for _, record := range records {
		m := metaOf(record)
		if m == nil {
			continue
		}
		r.learn(record.ID, m)
		err := r.settle(ctx, record.ID)
		if errors.Is(err, errNoAnswer) {
			// It may never answer: that is not to hold up the others.
			r.settling.Go(func() { r.settleSoon(ctx, record.ID) })
			continue
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("settle container %q: %w", record.ID, err))
		}
	}
	return errors.Join(failed...)
}

// removeOrphanSnapshots removes root file systems whose container was never
// registered: the agent died inside Create. Views of images stay as long as
// there is a place in their pod's directory where they are mounted.
func (r *Runtime) removeOrphanSnapshots(ctx context.Context) error {
	pods := map[string]string{}
	err := r.snaps.Walk(r.in(ctx), func(_ context.Context, info snapshots.Info) error {
		if pod := info.Labels[podLabel]; pod != "" {
			pods[info.Name] = pod
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id, pod := range pods {
		if err := r.removeOrphanSnapshot(ctx, id, pod); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runtime) removeOrphanSnapshot(ctx context.Context, id, pod string) error {
	defer r.pods.lock(pod)()
	if name, ok := strings.CutPrefix(id, pod+"/"); ok {
		if _, err := os.Stat(filepath.Join(r.podDir(pod), name)); err == nil {
			return nil
		}
	}
	if _, err := r.lookup(ctx, id); !errors.Is(err, errUnknown) {
		return err
	}
	if err := r.snaps.Remove(r.in(ctx), id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove snapshot %q: %w", id, err)
	}
	return nil
}
