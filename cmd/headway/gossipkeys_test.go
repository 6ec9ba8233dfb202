package main

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/membership"
)

func TestGossipKeysAreRotated(t *testing.T) {
	t.Parallel()
	c := fakecluster.New(clock.RealClock{})
	began := time.Unix(10_000, 0)
	keys := func() []membership.Key {
		t.Helper()
		secret := &corev1.Secret{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "kube-system", Name: gossipSecret}, secret); err != nil {
			t.Fatal(err)
		}
		return keysOf(secret)
	}
	for _, step := range []struct {
		at      time.Duration
		refused bool
		keys    int
	}{
		{0, false, 1},
		{membership.KeySpread - time.Second, true, 1},
		{membership.KeySpread, false, 2},
		{time.Hour, false, 3},
		{time.Hour + membership.KeySpread + membership.KeyKeep, false, 2},
	} {
		now := began.Add(step.at)
		seals, err := rotateGossipKey(t.Context(), c, now)
		if (err != nil) != step.refused {
			t.Errorf("after %v: %v", step.at, err)
		}
		if err == nil && !seals.Equal(now.Add(membership.KeySpread)) {
			t.Errorf("after %v: the key seals at %v", step.at, seals)
		}
		all := keys()
		if len(all) != step.keys {
			t.Errorf("after %v there are %d keys, want %d", step.at, len(all), step.keys)
		}
		if ring := membership.Ring(all, now.Add(membership.KeySpread)); !step.refused && string(ring[0]) != string(newest(all).Secret) {
			t.Errorf("after %v another key seals than the newest", step.at)
		}
	}
}

func newest(keys []membership.Key) membership.Key {
	last := keys[0]
	for _, k := range keys {
		if k.Made.After(last.Made) {
			last = k
		}
	}
	return last
}
