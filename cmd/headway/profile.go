package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"
)

// profileVariable names the unix socket on which a process serves Go's
// profiles; without it there are none. Only root can open the socket, so that
// no API user learns from a heap what others have stored.
const profileVariable = "HEADWAY_PPROF"

// profiles is the component that serves them, if somebody has asked for it.
func profiles() []component {
	path := os.Getenv(profileVariable)
	if path == "" {
		return nil
	}
	return []component{{"profiles", func(ctx context.Context) error { return serveProfiles(ctx, path) }}}
}

func serveProfiles(ctx context.Context, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the old socket: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, listener.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		err := server.Close()
		<-done // http.ErrServerClosed
		return err
	}
}
