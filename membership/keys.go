package membership

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

const (
	// KeySpread is how long a new key is believed before it seals: all machines
	// that are not cut off hear of it meanwhile.
	KeySpread = 2 * time.Minute
	// KeyKeep is how long the key before it is believed afterwards, by machines
	// that were cut off and do not know the new one yet.
	KeyKeep = 24 * time.Hour
)

// Key is a gossip key and when it was made.
type Key struct {
	Secret []byte
	Made   time.Time
}

// Ring gives the keys that are in force at a time, first the one that seals.
// Machines that know of all keys but those made within KeySpread, and whose
// clocks agree as well, understand each other at any time. The oldest key seals
// from the beginning.
//
//	made ── KeySpread ──▶ seals ── until the next one seals ──▶ believed ── KeyKeep ──▶ gone
func Ring(keys []Key, now time.Time) [][]byte {
	keys = slices.SortedStableFunc(slices.Values(keys), func(a, b Key) int { return a.Made.Compare(b.Made) })
	seals := 0
	for i := range keys {
		if i > 0 && !now.Before(keys[i].Made.Add(KeySpread)) {
			seals = i
		}
	}
	var ring [][]byte
	for i := seals; i < len(keys); i++ {
		ring = append(ring, keys[i].Secret)
	}
	for i := range seals {
		if now.Before(keys[i+1].Made.Add(KeySpread + KeyKeep)) {
			ring = append(ring, keys[i].Secret)
		}
	}
	return ring
}

// SetKeys makes those the keys in force, first the one that seals. What was
// sealed with others is dropped from now on.
func (m *Membership) SetKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return fmt.Errorf("set gossip keys: there are none")
	}
	for _, k := range keys {
		if len(k) != KeySize {
			return fmt.Errorf("set gossip keys: one has %d bytes, want %d", len(k), KeySize)
		}
		if err := m.keys.AddKey(k); err != nil {
			return fmt.Errorf("set gossip keys: %w", err)
		}
	}
	before := m.keys.GetPrimaryKey()
	if err := m.keys.UseKey(keys[0]); err != nil {
		return fmt.Errorf("set gossip keys: %w", err)
	}
	if !bytes.Equal(before, keys[0]) {
		select {
		case m.rekeyed <- struct{}{}:
		default:
		}
	}
	for _, old := range m.keys.GetKeys() {
		if !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, old) }) {
			if err := m.keys.RemoveKey(old); err != nil {
				return fmt.Errorf("set gossip keys: %w", err)
			}
		}
	}
	return nil
}
