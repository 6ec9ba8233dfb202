package membership_test

import (
	"bytes"
	"net"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headway-sh/headway/membership"
)

func secret(b byte) []byte { return bytes.Repeat([]byte{b}, membership.KeySize) }

func TestRing(t *testing.T) {
	t.Parallel()
	began := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return began.Add(d) }
	first, second := membership.Key{Secret: secret(1)}, membership.Key{Secret: secret(2), Made: began}
	third := membership.Key{Secret: secret(3), Made: at(time.Minute)}
	for name, c := range map[string]struct {
		keys []membership.Key
		now  time.Time
		want []byte
	}{
		"one key":                 {[]membership.Key{first}, began, []byte{1}},
		"a new one spreads":       {[]membership.Key{second, first}, at(0), []byte{1, 2}},
		"it seals":                {[]membership.Key{first, second}, at(membership.KeySpread), []byte{2, 1}},
		"the old one is gone":     {[]membership.Key{first, second}, at(membership.KeySpread + membership.KeyKeep), []byte{2}},
		"another while it spread": {[]membership.Key{first, second, third}, at(membership.KeySpread), []byte{2, 3, 1}},
		"the other seals":         {[]membership.Key{first, second, third}, at(time.Minute + membership.KeySpread), []byte{3, 1, 2}},
		"a new cluster's own key": {[]membership.Key{second}, began, []byte{2}},
	} {
		var got []byte
		for _, k := range membership.Ring(c.keys, c.now) {
			got = append(got, k[0])
		}
		if !bytes.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestRingsWithoutAGap: two machines of which each may be behind by less than
// the time that a key spreads understand each other at any time.
func TestRingsWithoutAGap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		keys := []membership.Key{{Secret: secret(0)}}
		for i := range rapid.IntRange(0, 5).Draw(t, "rotations") {
			keys = append(keys, membership.Key{Secret: secret(byte(i + 1)), Made: time.Unix(int64(rapid.IntRange(0, 600).Draw(t, "made")), 0)})
		}
		now := time.Unix(int64(rapid.IntRange(0, 900).Draw(t, "now")), 0)
		ring := func(name string) [][]byte {
			heard := now.Add(-time.Duration(rapid.IntRange(0, 119).Draw(t, name)) * time.Second)
			known := slices.DeleteFunc(slices.Clone(keys), func(k membership.Key) bool { return k.Made.After(heard) })
			return membership.Ring(known, now)
		}
		one, other := ring("one is behind"), ring("other is behind")
		if !slices.ContainsFunc(other, func(k []byte) bool { return bytes.Equal(k, one[0]) }) {
			t.Fatalf("one seals with %d, which the other does not believe: %v", one[0][0], other)
		}
	})
}

// TestKeysChangeWhileMembersTalk: also one that is not told for long finds back.
func TestKeysChangeWhileMembersTalk(t *testing.T) {
	t.Parallel()
	a, _ := start(t, "a", key, membership.Meta{})
	b, _ := start(t, "b", key, membership.Meta{}, a.Address().String())
	late, _ := start(t, "late", key, membership.Meta{}, a.Address().String())
	for _, m := range []*membership.Membership{a, b, late} {
		await(t, m, "a", true)
		await(t, m, "b", true)
		await(t, m, "late", true)
	}
	next := secret(9)
	for _, ring := range [][][]byte{{key, next}, {next, key}, {next}} {
		for _, m := range []*membership.Membership{a, b} {
			if err := m.SetKeys(ring); err != nil {
				t.Fatal(err)
			}
		}
		heard := make(chan []byte, 1)
		b.Receive(func(message []byte) { heard <- message })
		if err := a.Send(await(t, a, "b", true), []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if got := <-heard; string(got) != "hello" {
			t.Errorf("b hears %q", got)
		}
	}
	// The one that was not told is lost, and comes back once it is.
	await(t, a, "late", false)
	if err := late.SetKeys([][]byte{next, key}); err != nil {
		t.Fatal(err)
	}
	await(t, a, "late", true)
	await(t, late, "b", true)
	if err := a.SetKeys(nil); err == nil {
		t.Error("no keys were taken")
	}
}

// TestFloodIsDroppedAndCounted: packets in plain text, of another cluster and of
// nothing at all change nothing.
func TestFloodIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	a, _ := start(t, "a", key, membership.Meta{})
	b, _ := start(t, "b", key, membership.Meta{}, a.Address().String())
	await(t, a, "b", true)
	conn, err := net.Dial("udp", a.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const packets = 20_000
	for i := range packets {
		message := bytes.Repeat([]byte{byte(i)}, 1+i%1400)
		if _, err := conn.Write(message); err != nil {
			t.Fatal(err)
		}
	}
	start(t, "x", secret(8), membership.Meta{}, a.Address().String())
	c, _ := start(t, "c", key, membership.Meta{}, a.Address().String())
	await(t, a, "c", true)
	await(t, c, "b", true)
	for _, m := range []*membership.Membership{a, b} {
		for _, other := range m.Members() {
			if !other.Alive || other.Name == "x" {
				t.Errorf("after the flood there is %+v", other)
			}
		}
	}
	if a.Dropped() == 0 {
		t.Error("nothing was counted")
	}
}
