package main

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/reconciler"
)

// engineOf is a git engine on an API server, under its own account.
func engineOf(t testing.TB, api *apiserver.Server) *gitsource.Engine {
	t.Helper()
	self := authn.ServiceAccount("kube-system", "gitsource")
	engine, err := gitsource.New(gitsource.Config{Txn: api.Peer(self).Txn(), Mapper: api.Mapper(), Identity: self,
		Capabilities: api.Capabilities, Readable: api.Readable, DataDir: t.TempDir(), ClusterName: "test", ClusterUID: "u",
		Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler)})
	ok(t, err)
	return engine
}

// rooms runs an API server with a git engine and some controllers until the test
// ends, and gives the administrator's client.
func rooms(t testing.TB, controllers ...string) client.WithWatch {
	t.Helper()
	c, _ := roomsOf(t, controllers...)
	return c
}

// roomsOf is rooms with clients of other users, too.
func roomsOf(t testing.TB, controllers ...string) (admin client.WithWatch, as func(user string) client.Client) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	log := slog.New(slog.DiscardHandler)
	api, err := apiserver.Start(ctx, apiserver.Config{DataDir: t.TempDir(), Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: log})
	ok(t, err)
	peer := api.Peer(apiserver.Masters)
	parts := []component{{"api", api.Run}, {"source", engineOf(t, api).Run}}
	if len(controllers) > 0 {
		cache := peer.Cache()
		all, err := reconciler.New(reconciler.Config{Client: peer.LocalClient(), Cache: cache, Logger: log, Kinds: (&server{api: api}).kinds(),
			NamespacedKinds: api.NamespacedKinds, Controllers: controllers})
		ok(t, err)
		parts = append(parts, component{"cache", cache.Start}, component{"controllers", all.Run})
	}
	done := make(chan error, 1)
	go func() { done <- runAll(ctx, log, parts) }()
	t.Cleanup(func() {
		stop()
		ok(t, <-done)
	})
	return peer.Client(), func(user string) client.Client {
		return api.Peer(txn.Identity{Name: user, Groups: []string{"system:authenticated"}}).Client()
	}
}
