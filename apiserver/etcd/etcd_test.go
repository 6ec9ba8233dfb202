package etcd_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/apiserver/etcd"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/store/storetest"
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

// An idle member with a store on it syncs nothing to disk and computes next to
// nothing. What etcd does once after its start is let pass first.
func TestIdleIsQuiet(t *testing.T) {
	if testing.Short() {
		t.Skip("watches an idle member for seconds")
	}
	s := storetest.Start(t, store.NewEtcd(start(t, etcd.Config{DataDir: filepath.Join(t.TempDir(), "etcd")}).Client()))
	if _, err := s.Txn(t.Context(), store.Txn{Writes: []store.Write{storetest.Put(storetest.ConfigMap("a", "b", ""), 0)}}); err != nil {
		t.Fatal(err)
	}
	const settle, window = 5 * time.Second, 5 * time.Second
	<-time.After(settle)
	synced, cpu := syncs(t), processTime(t)
	<-time.After(window)
	if now := syncs(t); now != synced {
		t.Errorf("%v syncs in an idle window, want none", now-synced)
	}
	share := float64(processTime(t)-cpu) / float64(window)
	t.Logf("idle: %.2f %% of a core", 100*share)
	if share > 0.02 {
		t.Errorf("an idle member takes %.1f %% of a core, want at most 2", 100*share)
	}
}

// syncs is how often etcd has synced one of its files so far.
func syncs(t *testing.T) uint64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found, n := 0, uint64(0)
	for _, f := range families {
		if f.GetName() == "etcd_disk_wal_fsync_duration_seconds" || f.GetName() == "etcd_disk_backend_commit_duration_seconds" {
			found++
			n += f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	if found != 2 {
		t.Fatalf("etcd has %d of the two metrics", found)
	}
	return n
}

// processTime is what this process has computed so far.
func processTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
