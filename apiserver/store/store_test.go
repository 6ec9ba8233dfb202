package store_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strconv"
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

// As with an etcd that somebody else runs.
func TestOnSocket(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Backend {
		dir := t.TempDir()
		member(t, dir)
		client, err := etcd.Connect(context.WithoutCancel(t.Context()), etcd.External{
			Endpoints: []string{"unix://" + filepath.Join(dir, "etcd", etcd.SocketName)}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		if err != nil {
			t.Fatalf("connect: %v", err)
		}
		t.Cleanup(func() {
			if err := client.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return store.NewEtcd(client)
	})
}

// A transaction may be as large as the members are made for, and a larger one
// is told the limit.
func TestOperationLimit(t *testing.T) {
	t.Parallel()
	s := storetest.Start(t, store.NewEtcd(member(t, t.TempDir()).Client()))
	write := func(prefix string, n int) error {
		var tx store.Txn
		for i := range n {
			tx.Writes = append(tx.Writes, storetest.Put(storetest.ConfigMap("shop", prefix+strconv.Itoa(i), ""), 0))
		}
		_, err := s.Txn(t.Context(), tx)
		return err
	}
	if err := write("a", etcd.MaxOperations); err != nil {
		t.Errorf("the largest transaction: %v", err)
	}
	if n, ok := store.IsLimit(write("b", etcd.MaxOperations+1)); !ok || n != etcd.MaxOperations {
		t.Errorf("one more: limit %d, %v; want %d", n, ok, etcd.MaxOperations)
	}
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
