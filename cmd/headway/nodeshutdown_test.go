package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/headway-sh/headway/nodeagent/shutdown"
)

type closing chan shutdown.Periods

func (c closing) Shutdown(_ context.Context, p shutdown.Periods) { c <- p }

// TestPodsEndWithTheMachineOnly ends pods when somebody or systemd says that the
// machine goes down, and not when the agent is stopped.
func TestPodsEndWithTheMachineOnly(t *testing.T) {
	t.Parallel()
	for name, stops := range map[string]bool{"the agent stops": false, "the machine stops": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(closing, 2)
			g := &goingDown{agent: ended, changed: func() {}, periods: shutdown.Default, socket: filepath.Join(t.TempDir(), "control.sock"),
				machine: func(context.Context) bool { return stops }, log: slog.New(slog.DiscardHandler)}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- g.run(ctx) }()
			asked := shutdown.Periods{Total: 5 * time.Second, Critical: time.Second}
			for deadline := time.Now().Add(10 * time.Second); ; {
				err := tellShutdown(t.Context(), g.socket, asked)
				if err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
			if got := <-ended; got != asked {
				t.Errorf("asked for %v, got %v", asked, got)
			}
			if err := tellShutdown(t.Context(), g.socket, shutdown.Periods{Critical: time.Second}); err == nil {
				t.Error("periods that cannot be are taken")
			}
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-ended:
				if !stops || got != shutdown.Default {
					t.Errorf("ended within %v", got)
				}
			default:
				if stops {
					t.Error("pods were left alone")
				}
			}
		})
	}
}
