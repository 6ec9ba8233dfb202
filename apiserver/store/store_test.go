package store_test

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/headway-sh/headway/apiserver/etcd"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/store/memkv"
	"github.com/headway-sh/headway/apiserver/store/storetest"
)

func TestOnMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) store.Backend { return memkv.New() })
}

func TestOnEtcd(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Backend { return store.NewEtcd(member(t, t.TempDir()).Client()) })
}

// member starts etcd in a directory below dir until the test ends.
func member(t testing.TB, dir string) *etcd.Member {
	t.Helper()
	m, err := etcd.Start(t.Context(), etcd.Config{
		// Of several members in one process only the newest campaigns at once.
		DataDir: filepath.Join(dir, "etcd"), Heartbeat: 20 * time.Millisecond, Election: 100 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatalf("start etcd: %v", err)
	}
	t.Cleanup(m.Close)
	return m
}
