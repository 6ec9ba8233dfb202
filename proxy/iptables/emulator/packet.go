package emulator

import (
	"net/netip"
	"slices"

	"github.com/headway-sh/headway/proxy/backendtest"
	"github.com/headway-sh/headway/proxy/iptables"
)

// Send runs a packet through the rules. choose picks the draw of every
// probability: it is given n and returns whether this one in n is taken.
func (k *Kernel) Send(p backendtest.Packet, choose func(n int) bool) backendtest.Fate {
	w := &walk{kernel: k, packet: p, fate: backendtest.Fate{To: p.Dst}, choose: choose}
	for _, hook := range []struct{ table, name string }{
		{iptables.Raw, iptables.Martians}, {iptables.NAT, iptables.Services}, {iptables.Filter, iptables.Reject}, {iptables.NAT, iptables.Postrouting},
	} {
		if k.linked[hook.name] && !w.fate.Rejected && !w.fate.Dropped {
			w.chain(hook.table, hook.name)
		}
	}
	return w.fate
}

type walk struct {
	kernel             *Kernel
	packet             backendtest.Packet
	fate               backendtest.Fate
	choose             func(int) bool
	translated, marked bool
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
			w.fate.Masqueraded = true
			return true
		case "REJECT":
			w.fate.Rejected = true
			return true
		case "DROP":
			w.fate.Dropped = true
			return true
		case "DNAT":
			w.fate.To, w.translated = r.To, true
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
		r.Dst.IsValid() && !under(w.fate.To.Addr(), r.Dst, r.Mask),
		r.Protocol != "" && r.Protocol != w.packet.Protocol,
		r.Port != 0 && (w.fate.To.Port() < r.Port || w.fate.To.Port() > max(r.Port, r.PortEnd)),
		r.Wire && !w.packet.Wire,
		r.LocalSrc && !w.kernel.local(w.packet.Src),
		r.LocalDst && !w.kernel.local(w.fate.To.Addr()),
		r.Known, // it is the first one of its connection
		r.Translated && !w.translated,
		r.Original.IsValid() && !r.Original.Contains(w.packet.Dst.Addr()),
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

func (k *Kernel) local(ip netip.Addr) bool { return ip.IsLoopback() || slices.Contains(k.Local, ip) }

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
