package iptables

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Rule is one rule, as far as this package makes rules. Zero fields match
// everything.
type Rule struct {
	Comment string
	// Src matches the source; NotSrc inverts it.
	Src    netip.Prefix
	NotSrc bool
	// Dst matches destinations whose address under Mask equals Dst under it; an
	// invalid Mask means all bits.
	Dst, Mask netip.Addr
	Protocol  string
	Port      uint16
	// PortEnd, unless 0, makes Port the first of a range that it ends.
	PortEnd uint16
	// Wire matches packets that did not come over the loopback link.
	Wire bool
	// LocalSrc and LocalDst match addresses of this machine.
	LocalSrc, LocalDst bool
	// Known matches packets of connections that are not new.
	Known bool
	// Translated matches connections whose destination was translated, Original
	// those that were made to an address in the prefix.
	Translated bool
	Original   netip.Prefix
	// Marked matches packets that carry the masquerade mark.
	Marked bool
	// OneIn matches one packet in so many, at random; 0 and 1: all.
	OneIn int
	// Recent matches clients that were sent to the list's endpoint within so
	// many seconds; Remember puts the client on the list.
	Recent        string
	RecentSeconds int
	Remember      bool

	// Target is a chain, or DNAT (with To), MASQUERADE, REJECT, DROP, RETURN or Mark.
	Target string
	To     netip.AddrPort
}

// Mark is the pseudo target that sets the masquerade mark; in the kernel it is
// one bit of the packet's mark.
const (
	Mark    = "MARK"
	markBit = "0x200000"
)

// String is the rule as iptables-restore reads it, without the chain.
func (r Rule) String() string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, " "+format, args...) }
	if r.Wire {
		add("! -i lo")
	}
	if r.Src.IsValid() {
		if r.NotSrc {
			add("!")
		}
		add("-s %s", r.Src)
	}
	if r.Dst.IsValid() {
		if r.Mask.IsValid() {
			add("-d %s/%s", r.Dst, r.Mask)
		} else {
			add("-d %s/%d", r.Dst, r.Dst.BitLen())
		}
	}
	if r.Protocol != "" {
		add("-p %s", r.Protocol)
	}
	switch {
	case r.PortEnd != 0:
		add("-m %s --dport %d:%d", r.Protocol, r.Port, r.PortEnd)
	case r.Port != 0:
		add("-m %s --dport %d", r.Protocol, r.Port)
	}
	if r.LocalSrc {
		add("-m addrtype --src-type LOCAL")
	}
	if r.LocalDst {
		add("-m addrtype --dst-type LOCAL")
	}
	if r.Known {
		add("-m conntrack ! --ctstate NEW")
	}
	if r.Translated {
		add("-m conntrack --ctstate DNAT")
	}
	if r.Original.IsValid() {
		add("-m conntrack --ctorigdst %s", r.Original)
	}
	if r.Marked {
		add("-m mark --mark %s/%s", markBit, markBit)
	}
	if r.Comment != "" {
		add("-m comment --comment %q", r.Comment)
	}
	if r.OneIn > 1 {
		add("-m statistic --mode random --probability %s", strconv.FormatFloat(1/float64(r.OneIn), 'f', 10, 64))
	}
	if r.Recent != "" {
		if r.Remember {
			add("-m recent --name %s --set --rsource", r.Recent)
		} else {
			add("-m recent --name %s --rcheck --seconds %d --reap --rsource", r.Recent, r.RecentSeconds)
		}
	}
	b.WriteString(r.target())
	return b.String()[1:]
}

func (r Rule) target() string {
	switch r.Target {
	case "DNAT":
		return fmt.Sprintf(" -j DNAT --to-destination %s", r.To)
	case Mark:
		return " -j MARK --set-xmark " + markBit + "/" + markBit
	case "MASQUERADE":
		return " -j MASQUERADE --random-fully"
	}
	return " -j " + r.Target
}
