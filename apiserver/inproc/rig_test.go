package inproc_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission"
	"github.com/headway-sh/headway/apiserver/etcd"
	"github.com/headway-sh/headway/apiserver/inproc"
	"github.com/headway-sh/headway/apiserver/kinds"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/write"
)

// denied refuses what it names as "identity verb resource".
type denied []string

func (d denied) Authorize(_ txn.View, identity txn.Identity, a write.Attributes) write.Decision {
	return write.Decision{Allowed: !slices.Contains(d, identity.Name+" "+a.Verb+" "+a.Resource.Resource)}
}

type rig struct {
	store  *store.Store
	path   *write.Path
	server *inproc.Server
}

func newRig(t testing.TB, refuse denied, steps ...write.Step) *rig {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	member, err := etcd.Start(t.Context(), etcd.Config{DataDir: t.TempDir(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { member.Close() })
	scheme, err := kinds.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	rows := append(kinds.All(), admission.RangeKind())
	var resources []store.Resource
	for _, k := range rows {
		resources = append(resources, store.Resource{
			Resource: k.Resource(), Prefix: "/registry/" + k.StoragePrefix + "/", Namespaced: k.Namespaced,
			Encode: k.Encode, Decode: k.Decode, Indexes: k.Indexes,
		})
	}
	s, err := store.Open(t.Context(), store.Config{Backend: store.NewEtcd(member.Client()), Resources: resources, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	path, err := write.New(write.Config{Store: write.OnStore(s), Kinds: rows, Authorizer: refuse, Steps: steps, Scheme: scheme, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	server, err := inproc.New(inproc.Config{Store: s, Write: path, Scheme: scheme, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{s, path, server}
}

func (r *rig) peer(name string) *inproc.Peer { return r.server.For(txn.Identity{Name: name}) }

// eventually waits for a condition that other goroutines bring about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come about: %s", what)
		}
	}
}

func configMap(name string, data ...string) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Data: map[string]string{}}
	for i := 0; i+1 < len(data); i += 2 {
		cm.Data[data[i]] = data[i+1]
	}
	return cm
}
