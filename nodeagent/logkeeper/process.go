package logkeeper

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent/daemon"
)

// ProcessConfig says how the keeper's process is started.
type ProcessConfig struct {
	// Dir holds the socket, the state and the process's own log.
	Dir string
	// Command runs Main with the arguments that are appended, such as
	// {"/usr/local/bin/headway", "logkeeper"}.
	Command []string
	// Env is added to the agent's; Cgroup as in daemon.Config.
	Env    []string
	Cgroup string
	Clock  clock.Clock
	Log    *slog.Logger
}

// Socket is where a keeper with this directory listens.
func Socket(dir string) string { return filepath.Join(dir, "logkeeper.sock") }

// NewProcess returns the keeper's process: Start finds or starts it, Run keeps
// it running.
func NewProcess(config ProcessConfig) *daemon.Daemon {
	socket := Socket(config.Dir)
	return daemon.New(daemon.Config{
		Name:   "log keeper",
		Socket: socket,
		Command: slices.Concat(config.Command, []string{
			"--socket", socket, "--state", filepath.Join(config.Dir, "logkeeper.json"),
		}),
		Env:     config.Env,
		LogFile: filepath.Join(config.Dir, "logkeeper.log"),
		Cgroup:  config.Cgroup,
		Clock:   config.Clock,
		Log:     config.Log,
		Ready: func(ctx context.Context) error {
			client := NewClient(socket)
			defer func() { _ = client.Close() }() // never fails
			return client.Ping(ctx)
		},
	})
}
