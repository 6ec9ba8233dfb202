package rules

import (
	"math/bits"
	"net/netip"
	"slices"
)

// Cover gives at most limit prefixes that contain all addresses of one family,
// as narrow as that allows: neighbours are joined first. Addresses from one
// range never make a prefix that is wider than the range.
func Cover(ips []netip.Addr, limit int) []netip.Prefix {
	sorted := slices.Clone(ips)
	slices.SortFunc(sorted, netip.Addr.Compare)
	sorted = slices.Compact(sorted)
	if len(sorted) == 0 {
		return nil
	}
	// Splitting the sorted addresses at the limit-1 widest gaps leaves the
	// closest together.
	type gap struct{ at, common int }
	gaps := make([]gap, 0, len(sorted))
	for i := 1; i < len(sorted); i++ {
		gaps = append(gaps, gap{i, common(sorted[i-1], sorted[i])})
	}
	slices.SortStableFunc(gaps, func(a, b gap) int { return a.common - b.common })
	gaps = gaps[:min(len(gaps), limit-1)]
	cuts := []int{len(sorted)}
	for _, g := range gaps {
		cuts = append(cuts, g.at)
	}
	slices.Sort(cuts)
	out := make([]netip.Prefix, 0, len(cuts))
	from := 0
	for _, to := range cuts {
		out = append(out, netip.PrefixFrom(sorted[from], common(sorted[from], sorted[to-1])).Masked())
		from = to
	}
	return out
}

// common counts the leading bits that two addresses share.
func common(a, b netip.Addr) int {
	x, y := a.AsSlice(), b.AsSlice()
	n := 0
	for i := range x {
		same := bits.LeadingZeros8(x[i] ^ y[i])
		n += same
		if same < 8 {
			break
		}
	}
	return n
}
