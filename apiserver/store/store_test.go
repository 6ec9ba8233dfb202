package store_test

import (
	"log/slog"
	"path/filepath"
	"testing"

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
	m, err := etcd.Start(t.Context(), etcd.Config{DataDir: filepath.Join(dir, "etcd"), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatalf("start etcd: %v", err)
	}
	t.Cleanup(m.Close)
	return m
}
