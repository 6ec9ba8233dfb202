package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

const (
	superviseFirst = 200 * time.Millisecond
	superviseMost  = 10 * time.Second
	// superviseCalm is how long a server must run for the next start to be at
	// once again.
	superviseCalm = time.Minute
	// stopPatience is how long a server may take to stop.
	stopPatience = 30 * time.Second
	maxLog       = 16 << 20
)

// superviseCommand keeps a server running where there is no systemd.
func superviseCommand() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:    "supervise",
		Short:  "Run \"headway server\" and start it again when it ends",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return supervise(cmd.Context(), serviceFiles{dataDir})
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "the server's data directory")
	return cmd
}

// serviceFiles are what `headway up` leaves for the server it starts.
type serviceFiles struct{ data string }

// config has the server's flags.
func (f serviceFiles) config() string { return filepath.Join(f.data, "server.yaml") }

// lock is held by the running supervisor, whose process id is in it.
func (f serviceFiles) lock() string { return filepath.Join(f.data, "supervise.lock") }
func (f serviceFiles) log() string  { return filepath.Join(f.data, "headway.log") }

// supervise runs servers, one at a time, until ctx ends.
func supervise(ctx context.Context, files serviceFiles) error {
	lock, err := takeLock(files.lock())
	if err != nil {
		return err
	}
	defer lock.Close()
	out, err := openLog(files.log(), maxLog)
	if err != nil {
		return err
	}
	defer out.Close()
	log := slog.New(slog.NewTextHandler(out, nil))
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// The server gets its SIGTERM from the kernel when this thread ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	delay := superviseFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := serveOnce(ctx, self, files.config(), out)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > superviseCalm {
			delay = superviseFirst
		}
		log.Error("server ended, starting it again", "error", err, "in", delay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
		delay = min(2*delay, superviseMost)
	}
	return nil
}

func serveOnce(ctx context.Context, self, config string, out io.Writer) error {
	cmd := exec.CommandContext(ctx, self, "server", "--config", config)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	return cmd.Run()
}

// takeLock makes this process the one supervisor of a data directory.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another supervisor runs for %s: %w", filepath.Dir(path), err), f.Close())
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	return f, err
}

// lockHolder is the process that holds the lock; 0 when none does.
func lockHolder(path string) (int, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == nil {
		return 0, nil // let go of by Close
	} else if !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return pid, nil
}

// logFile keeps what the server says: at most twice limit, the older half in
// a second file.
type logFile struct {
	path  string
	limit int64
	f     *os.File
	size  int64
}

func openLog(path string, limit int64) (*logFile, error) {
	l := &logFile{path: path, limit: limit}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Write implements io.Writer; one caller at a time.
func (l *logFile) Write(p []byte) (int, error) {
	if l.size+int64(len(p)) > l.limit {
		if err := errors.Join(l.f.Close(), os.Rename(l.path, l.path+".1"), l.open()); err != nil {
			return 0, err
		}
	}
	n, err := l.f.Write(p)
	l.size += int64(n)
	return n, err
}

func (l *logFile) Close() error { return l.f.Close() }
