package emulator

import (
	"net/netip"
	"slices"

	"github.com/headway-sh/headway/proxy/iptables"
)

// Packet is the first packet of a connection.
type Packet struct {
	Src      netip.Addr
	Dst      netip.AddrPort
	Protocol string
}

// Fate is what happens to it.
type Fate struct {
	// To is where it goes in the end.
	To netip.AddrPort
	// Masqueraded says that its source becomes the node's.
	Masqueraded bool
	// Rejected says that the sender is told that nobody is there.
	Rejected bool
}

// Send runs a packet through the rules. choose picks the draw of every
// probability: it is given n and returns whether this one in n is taken.
func (k *Kernel) Send(p Packet, choose func(n int) bool) Fate {
	if !k.linked {
		return Fate{To: p.Dst}
	}
	w := &walk{kernel: k, packet: p, to: p.Dst, choose: choose}
	w.chain("nat", iptables.Services)
	w.chain("filter", iptables.Reject)
	if !w.rejected {
		w.post = true
		w.chain("nat", iptables.Postrouting)
	}
	return Fate{To: w.to, Masqueraded: w.masqueraded, Rejected: w.rejected}
}

type walk struct {
	kernel                                          *Kernel
	packet                                          Packet
	to                                              netip.AddrPort
	choose                                          func(int) bool
	translated, marked, masqueraded, rejected, post bool
}

// chain walks a chain and tells whether a rule ended the table.
func (w *walk) chain(table, name string) (done bool) {
	for _, r := range w.kernel.tables[table][name] {
		if !w.matches(r) {
			continue
		}
		switch r.Target {
		case "RETURN":
			return false
		case iptables.Mark:
			w.marked = true
		case "MASQUERADE":
			w.masqueraded = true
			return true
		case "REJECT":
			w.rejected = true
			return true
		case "DNAT":
			w.to, w.translated = r.To, true
			return true
		default:
			if w.chain(table, r.Target) {
				return true
			}
		}
	}
	return false
}

func (w *walk) matches(r iptables.Rule) bool {
	switch {
	case r.Src.IsValid() && r.Src.Contains(w.packet.Src) == r.NotSrc,
		r.Dst.IsValid() && !under(w.to.Addr(), r.Dst, r.Mask),
		r.Protocol != "" && r.Protocol != w.packet.Protocol,
		r.Port != 0 && r.Port != w.to.Port(),
		r.LocalDst && !slices.Contains(w.kernel.Local, w.to.Addr()),
		r.Translated && !w.translated,
		r.Marked && !w.marked,
		r.OneIn > 1 && !w.choose(r.OneIn):
		return false
	}
	if r.Recent == "" {
		return true
	}
	if r.Remember {
		if w.kernel.recent[r.Recent] == nil {
			w.kernel.recent[r.Recent] = map[netip.Addr]bool{}
		}
		w.kernel.recent[r.Recent][w.packet.Src] = true
		return true
	}
	return w.kernel.recent[r.Recent][w.packet.Src]
}

func under(ip, dst, mask netip.Addr) bool {
	if !mask.IsValid() {
		return ip == dst
	}
	a, d, m := ip.AsSlice(), dst.AsSlice(), mask.AsSlice()
	if len(a) != len(d) || len(a) != len(m) {
		return false
	}
	for i := range a {
		if a[i]&m[i] != d[i]&m[i] {
			return false
		}
	}
	return true
}
