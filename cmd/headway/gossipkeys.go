package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/membership"
)

const (
	// gossipSecret holds the gossip keys that were made after the cluster's first
	// one, each under the second at which it was made.
	gossipSecret = "headway-gossip-keys"
	// keysEvery is how often servers look which keys count: new ones begin to, and
	// old ones cease to, by the clock. The look is into the server's own memory.
	keysEvery = 15 * time.Second
)

func gossipCommand() *cobra.Command {
	gossip := &cobra.Command{Use: "gossip", Short: "Look after the gossip among the machines"}
	gossip.AddCommand(&cobra.Command{
		Use:   "rotate-key",
		Short: "Seal the gossip with a new key",
		Long: fmt.Sprintf(`Seal the gossip with a new key.

All machines hear of the new key within %v and seal with it from then on. The
key before it is believed for %v longer, for machines that are cut off; one that
is cut off for longer asks a server for the keys when it comes back.`, membership.KeySpread, membership.KeyKeep),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := apiClient(cmd)
			if err != nil {
				return err
			}
			at, err := rotateGossipKey(cmd.Context(), c, time.Now())
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "the new key seals from %s on\n", at.Format(time.RFC3339))
			}
			return err
		},
	})
	return gossip
}

// rotateGossipKey adds a key, drops those that are over, and tells when the new
// one seals.
func rotateGossipKey(ctx context.Context, c client.Client, now time.Time) (time.Time, error) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: gossipSecret}}
	err := c.Get(ctx, client.ObjectKeyFromObject(secret), secret)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return time.Time{}, fmt.Errorf("read the gossip keys: %w", err)
	}
	keys := keysOf(secret)
	for _, k := range keys {
		if now.Before(k.Made.Add(membership.KeySpread)) {
			return time.Time{}, fmt.Errorf("the last key is still spreading: it seals from %s on", k.Made.Add(membership.KeySpread).Format(time.RFC3339))
		}
	}
	fresh := make([]byte, membership.KeySize)
	_, _ = rand.Read(fresh) // never fails
	kept := membership.Ring(keys, now)
	data := map[string][]byte{strconv.FormatInt(now.Unix(), 10): fresh}
	for _, k := range keys {
		if slices.ContainsFunc(kept, func(secret []byte) bool { return bytes.Equal(secret, k.Secret) }) {
			data[strconv.FormatInt(k.Made.Unix(), 10)] = k.Secret
		}
	}
	secret.Data = data
	if missing {
		err = c.Create(ctx, secret)
	} else {
		err = c.Update(ctx, secret)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("store the gossip key: %w", err)
	}
	return time.Unix(now.Unix(), 0).Add(membership.KeySpread), nil
}

// keysOf reads the keys of the Secret.
func keysOf(secret *corev1.Secret) []membership.Key {
	var keys []membership.Key
	for made, value := range secret.Data {
		if second, err := strconv.ParseInt(made, 10, 64); err == nil && len(value) == membership.KeySize {
			keys = append(keys, membership.Key{Secret: value, Made: time.Unix(second, 0)})
		}
	}
	return keys
}

// gossipRing are the keys in force. The cluster's first one is in a file that
// its servers share.
func (s *server) gossipRing(ctx context.Context) ([][]byte, error) {
	keys := []membership.Key{{Secret: s.api.Authorities().Gossip}}
	secret := &corev1.Secret{}
	err := s.api.Peer(apiserver.Masters).LocalClient().Get(ctx, client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: gossipSecret}, secret)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read the gossip keys: %w", err)
	}
	return membership.Ring(append(keys, keysOf(secret)...), s.clock.Now()), nil
}

// keepGossipKeys follows the keys until ctx ends.
func (s *server) keepGossipKeys(ctx context.Context) error {
	ticker := s.clock.NewTicker(keysEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
		ring, err := s.gossipRing(ctx)
		if err == nil {
			err = s.gossip.SetKeys(ring)
		}
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				s.log.Warn("gossip keys not followed", "err", err)
			}
			continue
		}
		s.ring.Store(&ring)
	}
}
