package containerd

import (
	"context"
	"fmt"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Stats implements runtime.Interface. It reads the cgroup's files itself: the
// same numbers through the shim cost three calls.
func (r *Runtime) Stats(ctx context.Context, id string) (runtime.Stats, error) {
	m, err := r.lookup(ctx, id)
	if err != nil {
		return runtime.Stats{}, fmt.Errorf("stats: %w", err)
	}
	l, err := r.readLife(id)
	if err != nil {
		return runtime.Stats{}, fmt.Errorf("stats of container %q: %w", id, err)
	}
	if l.state() != runtime.StateRunning {
		return runtime.Stats{}, fmt.Errorf("stats of container %q: it is %s", id, l.state())
	}
	s := r.host.cgroups().Usage(m.Cgroup)
	s.Time = r.clock.Now()
	return s, nil
}

// DiskUsage implements runtime.Interface.
func (r *Runtime) DiskUsage(ctx context.Context, id string) (runtime.DiskUsage, error) {
	usage, err := r.snaps.Usage(r.in(ctx), id)
	if err != nil {
		return runtime.DiskUsage{}, fmt.Errorf("disk usage of container %q: %w", id, err)
	}
	return runtime.DiskUsage{Bytes: uint64(usage.Size), Inodes: uint64(usage.Inodes)}, nil
}
