// Package containerdproc runs a containerd of the node's own, for machines
// where none is configured: private root, state and socket below one
// directory, and only the plug-ins that the node agent uses. The process and
// its shims outlive the agent (see package daemon).
package containerdproc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent/daemon"
)

// DefaultCgroup is where the process and all shims live.
const DefaultCgroup = "/headway/runtime"

// maxSocketPath is the kernel's limit for a unix socket's path.
const maxSocketPath = 107

// Config says where containerd's files are.
type Config struct {
	// Dir is the data directory: images and snapshots in Dir/root, which must
	// last; the rest may be lost with the power.
	Dir string
	// RunDir holds the socket and state; Dir/run when empty. The socket's
	// path must fit in 107 bytes.
	RunDir string
	// Binary is "containerd" from PATH when empty.
	Binary string
	// Cgroup is DefaultCgroup when empty.
	Cgroup string
	Clock  clock.Clock
	Log    *slog.Logger
}

// Process is a containerd. See daemon.Daemon for the legal order of calls.
type Process struct {
	*daemon.Daemon
	config Config
}

// New writes containerd's configuration; Start finds or starts the process.
func New(config Config) (*Process, error) {
	if config.Dir == "" {
		return nil, errors.New("containerd: data directory is empty")
	}
	if config.RunDir == "" {
		config.RunDir = filepath.Join(config.Dir, "run")
	}
	if config.Cgroup == "" {
		config.Cgroup = DefaultCgroup
	}
	if config.Binary == "" {
		config.Binary = "containerd"
	}
	binary, err := exec.LookPath(config.Binary)
	if err != nil {
		return nil, fmt.Errorf("containerd: %w: install the distribution's containerd and runc packages", err)
	}
	p := &Process{config: config}
	if len(p.Socket()) > maxSocketPath {
		return nil, fmt.Errorf("containerd: socket path %s is longer than %d bytes: use a shorter directory", p.Socket(), maxSocketPath)
	}
	for _, dir := range []string{config.Dir, config.RunDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("containerd: %w", err)
		}
	}
	path := filepath.Join(config.Dir, "config.toml")
	if err := os.WriteFile(path, []byte(p.toml()), 0o600); err != nil {
		return nil, fmt.Errorf("containerd: write configuration: %w", err)
	}
	p.Daemon = daemon.New(daemon.Config{
		Name:    "containerd",
		Command: []string{binary, "--config", path},
		// Few threads and a small heap: it is idle nearly always.
		Env:     []string{"GOGC=50"},
		Socket:  p.Socket(),
		LogFile: filepath.Join(config.Dir, "containerd.log"),
		Cgroup:  config.Cgroup,
		Ready:   p.ready,
		Clock:   config.Clock,
		Log:     config.Log,
	})
	return p, nil
}

// Socket is the address for clients.
func (p *Process) Socket() string { return filepath.Join(p.config.RunDir, "containerd.sock") }

// toml is the configuration: version 2 is read by containerd 1.6 and newer.
// Left out are the plug-ins that serve CRI, other snapshotters and containerd's
// own metrics and restarts: each costs start-up time and memory.
func (p *Process) toml() string {
	return fmt.Sprintf(`version = 2
root = %q
state = %q
oom_score = 0
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.nri.v1.nri",
  "io.containerd.internal.v1.restart",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.monitor.v1.cgroups",
  "io.containerd.monitor.task.v1.cgroups",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.native",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = %q

[debug]
  level = "warn"
`, filepath.Join(p.config.Dir, "root"), filepath.Join(p.config.RunDir, "state"), p.Socket())
}

// ready asks the health service: it answers when all plug-ins have loaded.
func (p *Process) ready(ctx context.Context) error {
	conn, err := grpc.NewClient("unix://"+p.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("containerd: %w", err)
	}
	defer func() { _ = conn.Close() }() // one request, answered or failed
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("containerd: %w", err)
	}
	if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("containerd: health is %s", answer.Status)
	}
	return nil
}
