package nodecidr_test

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/headway-sh/headway/reconciler/nodecidr"
)

func TestFreeRangesNeverOverlap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cluster := netip.MustParsePrefix("10.42.0.0/20")
		taken := []netip.Prefix{netip.MustParsePrefix("10.42.4.0/23"), netip.MustParsePrefix("192.168.0.0/24")}
		for range rapid.IntRange(0, 20).Draw(t, "nodes") {
			p, ok := nodecidr.Free(cluster, 24, taken)
			if !ok {
				break
			}
			if !cluster.Contains(p.Addr()) || p.Bits() != 24 {
				t.Fatalf("%s is not in %s", p, cluster)
			}
			for _, other := range taken {
				if other.Overlaps(p) {
					t.Fatalf("%s overlaps %s", p, other)
				}
			}
			taken = append(taken, p)
			if len(taken) > 2 && rapid.IntRange(0, 3).Draw(t, "leaves") == 0 {
				taken = taken[:len(taken)-1]
			}
		}
	})
	taken := []netip.Prefix{}
	for _, want := range []string{"fd00:10:244::/64", "fd00:10:244:1::/64", "fd00:10:244:2::/64"} {
		p, ok := nodecidr.Free(netip.MustParsePrefix("fd00:10:244::/56"), 64, taken)
		if !ok || p.String() != want {
			t.Errorf("got %s, want %s", p, want)
		}
		taken = append(taken, p)
	}
	for _, full := range []string{"255.255.255.0/24", "ffff:ffff:ffff:ffff::/64"} {
		p := netip.MustParsePrefix(full)
		if got, ok := nodecidr.Free(p, p.Bits(), []netip.Prefix{p}); ok {
			t.Errorf("beyond the last range is %s", got)
		}
	}
	if _, ok := nodecidr.Free(netip.MustParsePrefix("10.0.0.0/24"), 24, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}); ok {
		t.Error("a full range has room")
	}
}
