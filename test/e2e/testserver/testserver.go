// Package testserver builds the program and runs a server without a node for
// tests that drive it from outside.
package testserver

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Patience is how long anything may take before a test gives up.
const Patience = 30 * time.Second

// Binary is the program under test: the one that HEADWAY_BIN names, or one
// built now.
func Binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("HEADWAY_BIN"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "headway")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/headway-sh/headway/cmd/headway")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// Start starts a server that ends with the test, and returns its admin's
// kubeconfig once the server is ready.
func Start(t testing.TB, headway string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	listener.Close() // the server takes the port over
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s := exec.Command(headway, "server", "--data-dir", dir, "--bind-address", "127.0.0.1", "--https-port", port, "--disable", "agent")
	s.Stdout, s.Stderr = log, log
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Process.Signal(os.Interrupt) // it may be gone already; Wait tells
		if err := s.Wait(); err != nil || t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("server: %v\n%s", err, text)
		}
	})
	kubeconfig := filepath.Join(dir, "admin.kubeconfig")
	Await(t, "the server gets ready", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), Patience)
		defer cancel()
		return exec.CommandContext(ctx, headway, "kubectl", "--kubeconfig", kubeconfig, "get", "--raw", "/readyz").Run() == nil
	})
	return kubeconfig
}

// Await asks until the condition holds.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		case <-t.Context().Done():
			t.Fatalf("stopped: %s", what)
		case <-tick.C:
		}
	}
}
