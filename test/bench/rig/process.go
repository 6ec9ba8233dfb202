package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/headway-sh/headway/test/bench/figure"
)

// Patience is for anything at all to happen on a busy machine.
const Patience = time.Minute

// Process is the binary running as a server on the loopback.
type Process struct {
	Cmd *exec.Cmd
	// Config is the administrator's.
	Config *clientrest.Config
	log    string
	socket string // of the profiles
}

// Start runs a binary as a server until it is ready. Its data, log and profiles
// are at and beside a path; stderr says that it logs there instead.
func Start(ctx context.Context, binary, data string, stderr bool, args ...string) (*Process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p := &Process{log: data + ".log", socket: data + ".pprof"}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.Cmd = exec.Command(binary, append([]string{"server", "--data-dir", data, "--bind-address", "127.0.0.1", "--https-port", port,
		"--node-name", "bench", "--gossip-port", "0"}, args...)...)
	p.Cmd.Stdout, p.Cmd.Stderr = log, log
	if stderr {
		p.Cmd.Stderr = os.Stderr
	}
	p.Cmd.Env = append(Environment(), "HEADWAY_PPROF="+p.socket)
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Cmd.Start(); err != nil {
		return nil, err
	}
	if err := p.ready(ctx, filepath.Join(data, "admin.kubeconfig")); err != nil {
		return nil, errors.Join(err, p.End())
	}
	return p, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// Environment is this process's without proxies, kubeconfigs and the project's
// own settings.
func Environment() []string {
	var all []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if upper := strings.ToUpper(name); !strings.HasSuffix(upper, "_PROXY") && !strings.HasPrefix(upper, "HEADWAY_") && upper != "KUBECONFIG" {
			all = append(all, v)
		}
	}
	return all
}

// ready waits for the kubeconfig and for /readyz.
func (p *Process) ready(ctx context.Context, kubeconfig string) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	return Poll(ctx, 5*time.Millisecond, func() error {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		config.QPS = -1
		config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
		c, err := clientrest.HTTPClientFor(config)
		if err != nil {
			return err
		}
		defer c.CloseIdleConnections()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := c.Do(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err = errors.Join(err, answer.Body.Close()); err == nil && answer.StatusCode != http.StatusOK {
			err = errors.New(answer.Status)
		}
		p.Config = config
		return err
	})
}

// Poll calls f until it succeeds.
func Poll(ctx context.Context, every time.Duration, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(every):
		}
	}
}

// End stops the server as a supervisor would.
func (p *Process) End() error {
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := p.Cmd.Wait(); err != nil {
		text, _ := os.ReadFile(p.log) // the exit itself is the error
		return fmt.Errorf("server: %w: %s", err, text[max(0, len(text)-2000):])
	}
	return nil
}

// CPUTime is what the process has used so far.
func (p *Process) CPUTime() (time.Duration, error) { return figure.CPUTime(p.Cmd.Process.Pid) }

// Settled waits until the server has done what the last step gave it to do.
func (p *Process) Settled(ctx context.Context) error { return Settled(ctx, p.Cmd.Process.Pid) }

// How long a process's CPU time has to stand nearly still before something is
// measured, at most quietMost.
const quietFor, quietMost = 300 * time.Millisecond, 15 * time.Second

// Settled waits until a process has done what the last step gave it to do.
func Settled(ctx context.Context, pid int) error {
	end := time.Now().Add(quietMost)
	for {
		before, err := figure.CPUTime(pid)
		if err != nil {
			return err
		}
		select {
		case <-time.After(quietFor):
		case <-ctx.Done():
			return ctx.Err()
		}
		after, err := figure.CPUTime(pid)
		if err != nil {
			return err
		}
		if after-before <= time.Second/figure.TicksPerSecond || time.Now().After(end) {
			return nil
		}
	}
}

// Profile asks the server for one of Go's profiles.
func (p *Process) Profile(ctx context.Context, what string) (_ []byte, err error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://profiles/debug/pprof/"+what, nil)
	if err != nil {
		return nil, err
	}
	answer, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("profile %s: %s", what, answer.Status)
	}
	return io.ReadAll(answer.Body)
}

// Collected is the resident memory in kilobytes once garbage has been
// collected and given back.
func (p *Process) Collected(ctx context.Context) (total, anonymous int64, err error) {
	const rounds, pause = 8, time.Second
	for range rounds {
		if _, err := p.Profile(ctx, "heap?gc=1"); err != nil {
			return 0, 0, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
		now, part, err := figure.Memory(p.Cmd.Process.Pid)
		if err != nil {
			return 0, 0, err
		}
		if anonymous == 0 || part < anonymous {
			total, anonymous = now, part
		}
	}
	return total, anonymous, nil
}
