// Package daemon keeps a process that outlives the agent: it is started in a
// session and cgroup of its own, found again through its unix socket, started
// again when it ends, and stopped only on request.
//
//	Start ──▶ found or started, socket answers ──▶ Run (watches, starts again) ──▶ Stop
//
// The process is known by who listens on its socket, so there is no pid file
// that could be stale.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"
)

const (
	defaultReadyTimeout = 30 * time.Second
	pollInterval        = 2 * time.Millisecond
	stopPatience        = 5 * time.Second
	firstBackoff        = 100 * time.Millisecond
	maxBackoff          = 10 * time.Second
)

// Config describes the process.
type Config struct {
	// Name is for messages and logs.
	Name string
	// Command is the program and its arguments.
	Command []string
	// Env is added to the agent's.
	Env []string
	// Socket is the unix socket that the process listens on.
	Socket string
	// LogFile gets standard output and error; empty: discarded.
	LogFile string
	// Cgroup is a path below every hierarchy's root, such as
	// "/headway/runtime"; empty: the agent's own.
	Cgroup string
	// Ready asks a process that accepts connections whether it works; nil:
	// accepting is enough. It must not wait for a process that does not answer.
	Ready func(context.Context) error
	// ReadyTimeout bounds a start; 30 s when zero.
	ReadyTimeout time.Duration
	// Clock is the real one when nil.
	Clock clock.Clock
	// Log is slog.Default when nil.
	Log *slog.Logger
}

// Daemon is one such process.
type Daemon struct {
	config Config
	clock  clock.Clock
	log    *slog.Logger
}

// New returns a daemon; nothing is started yet.
func New(config Config) *Daemon {
	d := &Daemon{config: config, clock: config.Clock, log: config.Log}
	if d.clock == nil {
		d.clock = clock.RealClock{}
	}
	if d.log == nil {
		d.log = slog.Default()
	}
	if d.config.ReadyTimeout == 0 {
		d.config.ReadyTimeout = defaultReadyTimeout
	}
	return d
}

// Start finds the process or starts it, and returns when it is ready.
func (d *Daemon) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.config.ReadyTimeout)
	defer cancel()
	for {
		// Asked again each time: the one that was found may just be ending.
		if d.PID() == 0 {
			if err := d.spawn(ctx); err != nil {
				return fmt.Errorf("start %s: %w", d.config.Name, err)
			}
		}
		if d.config.Ready == nil {
			return nil
		}
		err := d.config.Ready(ctx)
		if err == nil {
			return nil
		}
		if waitErr := d.wait(ctx, pollInterval); waitErr != nil {
			return fmt.Errorf("start %s: not ready: %w", d.config.Name, err)
		}
	}
}

// PID is the process that listens on the socket; 0 when none does.
func (d *Daemon) PID() int {
	conn, err := net.Dial("unix", d.config.Socket)
	if err != nil {
		return 0
	}
	defer func() { _ = conn.Close() }() // only connected to ask who is there
	return peer(conn)
}

func peer(conn net.Conn) int {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	if err != nil {
		return 0
	}
	return pid
}

func (d *Daemon) spawn(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(d.config.Socket), 0o711); err != nil {
		return err
	}
	cmd := exec.Command(d.config.Command[0], d.config.Command[1:]...) // must not end with ctx
	cmd.Env = append(os.Environ(), d.config.Env...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if d.config.LogFile != "" {
		out, err := os.OpenFile(d.config.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { _ = out.Close() }() // the process has its own descriptor
		cmd.Stdout, cmd.Stderr = out, out
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.joinCgroup(cmd.Process.Pid)
	for d.PID() == 0 {
		if ended, status := reap(cmd.Process.Pid); ended && d.PID() == 0 {
			return fmt.Errorf("it ended with exit status %d: %s", status, d.lastWords())
		}
		if err := d.wait(ctx, pollInterval); err != nil {
			return fmt.Errorf("socket %s does not answer: %w", d.config.Socket, err)
		}
	}
	return nil
}

// reap collects a child that has ended; other children are not touched.
func reap(pid int) (ended bool, exitStatus int) {
	var status unix.WaitStatus
	got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
	if err != nil || got != pid {
		return errors.Is(err, unix.ECHILD) && unix.Kill(pid, 0) != nil, 0
	}
	if status.Signaled() {
		return true, 128 + int(status.Signal())
	}
	return true, status.ExitStatus()
}

func (d *Daemon) lastWords() string {
	const enough = 512
	text, err := os.ReadFile(d.config.LogFile)
	if err != nil {
		return "no output"
	}
	return string(text[max(0, len(text)-enough):])
}

// Run watches the process and starts it again when it ends, until ctx ends;
// the process then lives on.
func (d *Daemon) Run(ctx context.Context) error {
	backoff := firstBackoff
	for ctx.Err() == nil {
		if err := d.Start(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			d.log.Error("keep process running", "process", d.config.Name, "error", err)
			if d.wait(ctx, backoff) != nil {
				return nil
			}
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		backoff = firstBackoff
		if d.watch(ctx) {
			d.log.Warn("process ended, starting it again", "process", d.config.Name)
		}
	}
	return nil
}

// watch returns when the process has ended (true) or ctx has.
func (d *Daemon) watch(ctx context.Context) bool {
	pid := d.PID()
	if pid == 0 {
		return true
	}
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return true
	}
	process := os.NewFile(uintptr(fd), "pidfd")
	defer func() { _ = process.Close() }() // nothing was written
	stop := context.AfterFunc(ctx, func() { _ = process.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := process.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return err == nil && n > 0
	})
	if err != nil {
		return false
	}
	reap(pid)
	return true
}

// Stop ends the process: SIGTERM, and SIGKILL when that does not help.
func (d *Daemon) Stop(ctx context.Context) error {
	pid := d.PID()
	if pid == 0 {
		return nil
	}
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.Kill(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("stop %s: %w", d.config.Name, err)
		}
		deadline := d.clock.Now().Add(stopPatience)
		for d.clock.Now().Before(deadline) {
			if gone(pid) {
				d.leaveCgroup()
				return nil
			}
			if err := d.wait(ctx, pollInterval); err != nil {
				return fmt.Errorf("stop %s: %w", d.config.Name, err)
			}
		}
	}
	return fmt.Errorf("stop %s: process %d does not end", d.config.Name, pid)
}

func gone(pid int) bool {
	ended, _ := reap(pid)
	return ended || unix.Kill(pid, 0) != nil
}

func (d *Daemon) wait(ctx context.Context, t time.Duration) error {
	timer := d.clock.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
