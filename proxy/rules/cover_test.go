package rules_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/proxy/rules"
)

func TestCover(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ips   []string
		limit int
		want  []string
	}{
		"none":           {nil, 4, nil},
		"one":            {[]string{"10.96.0.1"}, 4, []string{"10.96.0.1/32"}},
		"closest joined": {[]string{"10.96.0.1", "10.97.0.1", "10.96.0.2", "10.200.0.1"}, 3, []string{"10.96.0.0/30", "10.97.0.1/32", "10.200.0.1/32"}},
		"two ranges":     {[]string{"10.0.0.7", "10.0.0.200", "172.20.0.1", "172.20.255.1"}, 2, []string{"10.0.0.0/24", "172.20.0.0/16"}},
		"IPv6":           {[]string{"fd00::1", "fd00::ff"}, 1, []string{"fd00::/120"}},
	} {
		var ips []netip.Addr
		for _, ip := range c.ips {
			ips = append(ips, netip.MustParseAddr(ip))
		}
		var got []string
		for _, p := range rules.Cover(ips, c.limit) {
			got = append(got, p.String())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Every address is covered, and addresses of one range by nothing outside it.
func TestCoverStaysInTheRange(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		within := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 96, 0, 0}), rapid.IntRange(8, 30).Draw(t, "bits")).Masked()
		var ips []netip.Addr
		for range rapid.IntRange(1, 60).Draw(t, "addresses") {
			raw := within.Addr().As4()
			noise := rapid.Uint32().Draw(t, "host") & (1<<(32-within.Bits()) - 1)
			for i := range raw {
				raw[i] |= byte(noise >> (24 - 8*i))
			}
			ips = append(ips, netip.AddrFrom4(raw))
		}
		limit := rapid.IntRange(1, 8).Draw(t, "limit")
		cover := rules.Cover(ips, limit)
		if len(cover) > limit {
			t.Fatalf("%d prefixes", len(cover))
		}
		for _, ip := range ips {
			if !slices.ContainsFunc(cover, func(p netip.Prefix) bool { return p.Contains(ip) }) {
				t.Fatalf("%v is not in %v", ip, cover)
			}
		}
		for _, p := range cover {
			if !within.Contains(p.Addr()) || p.Bits() < within.Bits() {
				t.Fatalf("%v is wider than %v", p, within)
			}
		}
	})
}
