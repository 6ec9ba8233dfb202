// Package kubectl_test drives a server with the real kubectl, as people do:
// each script in testdata runs in a namespace of its own against the built
// binary. There is no node, so no pod ever runs.
package kubectl_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long anything may take before the test gives up.
const patience = 30 * time.Second

func TestKubectl(t *testing.T) {
	t.Parallel()
	headway := binary(t)
	kubeconfig := server(t, headway)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			name := "script-" + strings.ToLower(strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"))
			own := filepath.Join(env.WorkDir, ".kubeconfig")
			content, err := os.ReadFile(kubeconfig)
			if err != nil {
				return err
			}
			if err := os.WriteFile(own, content, 0o600); err != nil {
				return err
			}
			for _, args := range [][]string{{"create", "namespace", name}, {"config", "set-context", "--current", "--namespace", name}} {
				c := exec.CommandContext(t.Context(), headway, append([]string{"kubectl"}, args...)...)
				c.Env = append(os.Environ(), "KUBECONFIG="+own, "HOME="+env.WorkDir)
				if out, err := c.CombinedOutput(); err != nil {
					return fmt.Errorf("kubectl %v: %w: %s", args, err, out)
				}
			}
			env.Setenv("KUBECONFIG", own)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("HEADWAY", headway)
			env.Setenv("NS", name)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"kubectl": func(ts *testscript.TestScript, neg bool, args []string) {
				switch err := ts.Exec(headway, append([]string{"kubectl"}, args...)...); {
				case err != nil && !neg:
					ts.Fatalf("kubectl: %v", err)
				case err == nil && neg:
					ts.Fatalf("kubectl succeeded, but should have failed")
				}
			},
		},
	})
}

// binary is the program under test: the one that HEADWAY_BIN names, or one
// built now.
func binary(t *testing.T) string {
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

// server starts a server without a node and returns its admin's kubeconfig.
func server(t *testing.T, headway string) string {
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
	ready(t, headway, filepath.Join(dir, "admin.kubeconfig"))
	return filepath.Join(dir, "admin.kubeconfig")
}

// ready waits until the server says that it is.
func ready(t *testing.T, headway, kubeconfig string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := exec.CommandContext(ctx, headway, "kubectl", "--kubeconfig", kubeconfig, "get", "--raw", "/readyz").CombinedOutput()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the server does not get ready: %v\n%s", err, out)
		case <-tick.C:
		}
	}
}
