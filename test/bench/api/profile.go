package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/headway-sh/headway/test/bench/figure"
)

// profileSeconds is how much of a round is profiled.
const profileSeconds = 3

// pprof asks the server for one of Go's profiles.
func (s *server) pprof(ctx context.Context, what string) (_ []byte, err error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.socket)
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

// profile leaves a CPU profile of what runs until the returned function is
// called, if profiles are wanted.
func (b *bench) profile(ctx context.Context, name string) (done func()) {
	if !b.profiles {
		return func() {}
	}
	ended := make(chan error, 1)
	go func() {
		p, err := b.server.pprof(ctx, fmt.Sprintf("profile?seconds=%d", profileSeconds))
		if err == nil {
			err = os.WriteFile(filepath.Join(b.dir, strings.ReplaceAll(name, " ", "-")+".pb"), p, 0o600)
		}
		ended <- err
	}()
	return func() {
		if err := <-ended; err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}

// collected is the resident memory in kilobytes once garbage has been
// collected and given back.
func (b *bench) collected(ctx context.Context) (total, anonymous int64, err error) {
	const rounds, pause = 8, time.Second
	for range rounds {
		if _, err := b.server.pprof(ctx, "heap?gc=1"); err != nil {
			return 0, 0, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
		now, part, err := figure.Memory(b.server.cmd.Process.Pid)
		if err != nil {
			return 0, 0, err
		}
		if anonymous == 0 || part < anonymous {
			total, anonymous = now, part
		}
	}
	return total, anonymous, nil
}
