package membership_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/headway-sh/headway/membership"
)

var key = bytes.Repeat([]byte{7}, membership.KeySize)

// start runs a member on loopback until stop is called or the test ends.
func start(t *testing.T, name string, key []byte, meta membership.Meta, seeds ...string) (m *membership.Membership, stop func()) {
	t.Helper()
	m, err := membership.New(membership.Config{Name: name, Meta: meta, Bind: netip.MustParseAddrPort("127.0.0.1:0"), Key: key, Seeds: seeds, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return m, stop
}

// await returns once the member knows of the other one in that state.
func await(t *testing.T, m *membership.Membership, name string, alive bool) membership.Member {
	t.Helper()
	changes := make(chan membership.Member, 100)
	defer m.Watch(changes)()
	deadline := time.After(20 * time.Second)
	for {
		for _, other := range m.Members() {
			if other.Name == name && other.Alive == alive {
				return other
			}
		}
		select {
		case <-changes:
		case <-deadline:
			t.Fatalf("member %q never became alive=%v; known: %+v", name, alive, m.Members())
		}
	}
}

func TestMembersFindEachOtherFromOneAddress(t *testing.T) {
	t.Parallel()
	server, _ := start(t, "s1", key, membership.Meta{API: "192.0.2.1:6443"})
	_, stop := start(t, "a1", key, membership.Meta{Node: "n1"}, server.Address().String())
	a2, _ := start(t, "a2", key, membership.Meta{Node: "n2"}, server.Address().String())
	if m := await(t, server, "a1", true); m.Meta.Node != "n1" {
		t.Errorf("a1 tells %+v", m.Meta)
	}
	await(t, server, "a2", true)
	await(t, a2, "a1", true)
	if got := a2.Servers(); len(got) != 1 || got[0] != "192.0.2.1:6443" {
		t.Errorf("a2 knows the servers %v", got)
	}
	stop()
	await(t, server, "a1", false)
}

func TestPeerWithAnotherKeyIsDropped(t *testing.T) {
	t.Parallel()
	server, _ := start(t, "s1", key, membership.Meta{})
	stranger, _ := start(t, "x", bytes.Repeat([]byte{8}, membership.KeySize), membership.Meta{}, server.Address().String())
	start(t, "f", key, membership.Meta{}, server.Address().String())
	await(t, server, "f", true)
	for _, m := range server.Members() {
		if m.Name == "x" {
			t.Error("a peer with another key was let in")
		}
	}
	if len(stranger.Members()) != 1 {
		t.Errorf("the stranger knows %v", stranger.Members())
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if _, err := membership.New(membership.Config{Name: "a", Bind: netip.MustParseAddrPort("127.0.0.1:0"), Key: key[:16], Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a short key was accepted")
	}
}
