package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// service keeps a server running on this machine.
type service interface {
	// Start runs the server with the configuration that was written, anew if
	// one runs. It does not wait for the server to be ready.
	Start(ctx context.Context) error
	// Stop ends the server and forgets the service; none is success. It
	// returns when the server has ended.
	Stop(ctx context.Context) error
	// Logs says how a person reads what the server says.
	Logs() string
}

// newService is systemd where it runs, else a supervisor of our own.
func newService(files serviceFiles) (service, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return unit{files: files, program: self}, nil
	}
	return detached{files: files, program: self}, nil
}

// unit is a systemd unit. There is one for each data directory.
type unit struct {
	files   serviceFiles
	program string
}

const unitDir = "/etc/systemd/system"

func (u unit) name() string {
	if u.files.data == defaultDataDir {
		return "headway.service"
	}
	return "headway-" + strings.ReplaceAll(strings.Trim(u.files.data, "/"), "/", "-") + ".service"
}

// text is the unit file. KillMode=process leaves containers, their shims and
// containerd alone; Delegate lets the node make cgroups.
func (u unit) text() string {
	return fmt.Sprintf(`[Unit]
Description=Headway cluster
After=network-online.target local-fs.target
Wants=network-online.target

[Service]
ExecStart="%s" server --config "%s"
Restart=always
RestartSec=200ms
KillMode=process
Delegate=yes
TimeoutStopSec=%d
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy=multi-user.target
`, u.program, u.files.config(), int(stopPatience.Seconds()))
}

func (u unit) Start(ctx context.Context) error {
	path := filepath.Join(unitDir, u.name())
	if err := os.WriteFile(path, []byte(u.text()), 0o644); err != nil { //nolint:gosec // a unit is for everybody to read
		return fmt.Errorf("write unit: %w", err)
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", "--quiet", u.name()}, {"restart", u.name()}} {
		if err := systemctl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func (u unit) Stop(ctx context.Context) error {
	path := filepath.Join(unitDir, u.name())
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := systemctl(ctx, "disable", "--quiet", "--now", u.name()); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return systemctl(ctx, "daemon-reload")
}

func (u unit) Logs() string { return "journalctl -u " + strings.TrimSuffix(u.name(), ".service") }

func systemctl(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// detached is a `headway supervise` in a session of its own.
type detached struct {
	files   serviceFiles
	program string
}

func (d detached) Start(ctx context.Context) error {
	if err := d.Stop(ctx); err != nil {
		return err
	}
	cmd := exec.Command(d.program, "supervise", "--data-dir", d.files.data) // must outlive ctx
	cmd.Dir = "/"
	cmd.Env = withoutSettings(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	return cmd.Process.Release()
}

// withoutSettings leaves out the flags of this command: the server's are all
// in its configuration. Failpoints are no flag and stay.
func withoutSettings(env []string) []string {
	kept := make([]string, 0, len(env))
	for _, e := range env {
		if !strings.HasPrefix(e, "HEADWAY_") || strings.HasPrefix(e, "HEADWAY_FAILPOINTS=") {
			kept = append(kept, e)
		}
	}
	return kept
}

func (d detached) Stop(ctx context.Context) error {
	pid, err := lockHolder(d.files.lock())
	if err != nil || pid == 0 {
		return err
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop the supervisor: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopPatience+5*time.Second)
	defer cancel()
	for {
		// The lock is let go of when the supervisor and its server have ended.
		if pid, err := lockHolder(d.files.lock()); err != nil || pid == 0 {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("stop the supervisor: process %d does not end: %w", pid, ctx.Err())
		}
	}
}

func (d detached) Logs() string { return "less " + d.files.log() }
