package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/headway-sh/headway/nodeagent"
	"github.com/headway-sh/headway/nodeagent/shutdown"
)

// lastRequest is how long an answer on the control socket may still be sent.
const lastRequest = 2 * time.Second

// closer ends a node's pods for its machine goes down.
type closer interface {
	Shutdown(ctx context.Context, periods shutdown.Periods)
}

// goingDown ends the pods when the machine goes down: when systemd says so to the
// agent that it stops, or when somebody says so on the control socket. To stop
// the agent alone ends nothing.
type goingDown struct {
	agent   closer
	changed func()
	periods shutdown.Periods
	socket  string
	machine func(context.Context) bool
	log     *slog.Logger
}

// run is a component. The others are stopped after it, so that pods have what
// they stand on to the end.
func (g *goingDown) run(ctx context.Context) error {
	if err := os.Remove(g.socket); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("control socket: %w", err)
	}
	listener, err := net.Listen("unix", g.socket)
	if err == nil {
		err = os.Chmod(g.socket, 0o600)
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /shutdown", g.asked)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	<-ctx.Done()
	after := context.WithoutCancel(ctx)
	if g.periods.Total > 0 && g.machine(after) {
		g.end(after, g.periods)
	}
	stopping, cancel := context.WithTimeout(after, lastRequest)
	defer cancel()
	err = server.Shutdown(stopping)
	<-served
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // whoever waits is cut off
	}
	return err
}

func (g *goingDown) end(ctx context.Context, periods shutdown.Periods) {
	g.agent.Shutdown(ctx, periods)
	g.changed()
}

func (g *goingDown) asked(w http.ResponseWriter, r *http.Request) {
	total, err := time.ParseDuration(r.FormValue("total"))
	critical, e := time.ParseDuration(r.FormValue("critical"))
	periods := shutdown.Periods{Total: total, Critical: critical}
	if err := errors.Join(err, e, periods.Validate()); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.end(context.WithoutCancel(r.Context()), periods)
}

// closingAgent is the agent as far as its Node asks it, which is made before it.
type closingAgent struct {
	agent atomic.Pointer[nodeagent.Agent]
}

func (c *closingAgent) held() bool {
	a := c.agent.Load()
	return a != nil && a.Closing()
}

// machineStops asks systemd, where it runs, whether the machine goes down.
func machineStops(ctx context.Context) bool {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	state, _ := exec.CommandContext(ctx, "systemctl", "is-system-running").Output() // its exit status says the same as its word
	return strings.TrimSpace(string(state)) == "stopping"
}

// controlSocket is where a node's agent is told that its machine goes down.
func (d nodeDirs) controlSocket() string { return filepath.Join(d.run(), "control.sock") }

func nodeShutdownCommand() *cobra.Command {
	var dataDir string
	periods := shutdown.Default
	cmd := &cobra.Command{Use: "shutdown", Short: "End this machine's pods, because the machine goes down", Args: cobra.NoArgs,
		Long: `End this machine's pods, because the machine goes down.

Ordinary pods end first, then those of system priorities and of the node's own
files. They fail with the reason Terminated, the node says that it is not ready,
and takes no pods until its agent is started anew. Under systemd a shutdown of
the machine does this by itself.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := periods.Validate(); err != nil {
				return err
			}
			path, err := filepath.Abs(dataDir)
			if err != nil {
				return err
			}
			if err := tellShutdown(cmd.Context(), nodeDirs{path}.controlSocket(), periods); err != nil {
				return err
			}
			progressOf(cmd).Done("the pods of this machine have ended")
			return nil
		}}
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "the node's data directory")
	cmd.Flags().DurationVar(&periods.Total, "grace-period", periods.Total, "how long pods have in all")
	cmd.Flags().DurationVar(&periods.Critical, "critical-grace-period", periods.Critical, "how much of that critical ones have for themselves")
	return cmd
}

func tellShutdown(ctx context.Context, socket string, periods shutdown.Periods) error {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	form := url.Values{"total": {periods.Total.String()}, "critical": {periods.Critical.String()}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node/shutdown?"+form.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := c.Do(request)
	if err != nil {
		return fmt.Errorf("no agent runs here (%s): %w", socket, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the agent answers %s", response.Status)
	}
	return nil
}
