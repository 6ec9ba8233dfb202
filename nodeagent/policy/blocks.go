package policy

import "net/netip"

// subtract gives the ranges that hold exactly what is in block and in none of
// the exceptions. A range of all addresses is given as two halves, for no set
// holds it whole.
func subtract(block netip.Prefix, except []netip.Prefix) []netip.Prefix {
	block = block.Masked()
	inside := false
	for _, e := range except {
		if e.Bits() <= block.Bits() && e.Contains(block.Addr()) {
			return nil
		}
		inside = inside || block.Contains(e.Addr())
	}
	if !inside && block.Bits() > 0 {
		return []netip.Prefix{block}
	}
	low, high := halves(block)
	return append(subtract(low, except), subtract(high, except)...)
}

// halves of a range that is more than one address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	low = netip.PrefixFrom(p.Addr(), bits)
	b := p.Addr().AsSlice()
	b[(bits-1)/8] |= 0x80 >> ((bits - 1) % 8)
	a, _ := netip.AddrFromSlice(b)
	return low, netip.PrefixFrom(a, bits)
}
