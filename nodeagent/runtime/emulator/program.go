package emulator

import (
	"context"
	"io"
	"time"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

const (
	signalKill = 9
	signalTerm = 15
	// signalledBase plus the signal is the exit code of a signalled process.
	signalledBase = 128
)

// Program is a process: it runs until it returns its exit code. SIGKILL ends
// its context; it must then return, and its code no longer counts.
type Program func(ctx context.Context, p *Process) int

// Process is what a Program sees of the world.
type Process struct {
	Args     []string
	Env      []string
	Hostname string
	// PID is unique on the node.
	PID int
	// Config is the container's, also for an exec.
	Config runtime.ContainerConfig
	// Signals gets every signal but SIGKILL; one that is never read is lost.
	Signals        <-chan int
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Clock          clock.Clock

	oom func()
}

// OOM ends the process as the kernel's out-of-memory killer would; the
// program must return.
func (p *Process) OOM() { p.oom() }

// ExitAfter runs for the time d, then exits with the code. SIGTERM ends it
// earlier, as it does with programs that have no handler.
func ExitAfter(d time.Duration, code int) Program {
	return func(ctx context.Context, p *Process) int {
		if d <= 0 {
			return code
		}
		timer := p.Clock.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C():
			return code
		case signal := <-p.Signals:
			return signalledBase + signal
		case <-ctx.Done():
			return signalledBase + signalKill
		}
	}
}

// Forever runs until a signal ends it.
func Forever() Program {
	return func(ctx context.Context, p *Process) int {
		select {
		case signal := <-p.Signals:
			return signalledBase + signal
		case <-ctx.Done():
			return signalledBase + signalKill
		}
	}
}

// Graceful runs until SIGTERM, then works on for the time d and exits with 0.
func Graceful(d time.Duration) Program {
	return func(ctx context.Context, p *Process) int {
		if code := Forever()(ctx, p); code != signalledBase+signalTerm {
			return code
		}
		return ExitAfter(d, 0)(ctx, p)
	}
}

// Stubborn ignores all signals but SIGKILL.
func Stubborn() Program {
	return func(ctx context.Context, p *Process) int {
		for {
			select {
			case <-p.Signals:
			case <-ctx.Done():
				return signalledBase + signalKill
			}
		}
	}
}

// OOMAfter is killed for its memory after the time d.
func OOMAfter(d time.Duration) Program {
	return func(ctx context.Context, p *Process) int {
		code := ExitAfter(d, 0)(ctx, p)
		if code == 0 {
			p.OOM()
			return signalledBase + signalKill
		}
		return code
	}
}

// Printing writes the text to standard output, then goes on as next.
func Printing(text string, next Program) Program {
	return func(ctx context.Context, p *Process) int {
		if _, err := io.WriteString(p.Stdout, text); err != nil {
			return 1
		}
		return next(ctx, p)
	}
}
