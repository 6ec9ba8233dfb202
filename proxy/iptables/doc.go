// Package iptables writes service rows down as rules of the kernel's iptables.
//
//	nat: PREROUTING, OUTPUT ─▶ HW-SERVICES ─▶ HW-G-<bits>-<value> ─▶ … ─▶ DNAT
//	                               │               └─ what takes more ─▶ HW-S-<hash> ─▶ DNAT
//	                               └─ to a local address ─▶ HW-NODEPORTS ─▶ HW-N-<protocol>-<block> ─▶ DNAT
//	     POSTROUTING ─▶ HW-POSTROUTING: masquerade what is marked, what comes to
//	                    cluster IPs from outside (HW-FOREIGN), and hairpins (HW-HAIRPIN)
//	filter: INPUT, FORWARD, OUTPUT ─▶ HW-REJECT ─▶ HW-R-<bits>-<value> ─▶ …: who gets no endpoint
//	raw: PREROUTING ─▶ HW-MARTIANS: no loopback address comes from a wire
//
// A tree leads to an address's bucket, by four of its lowest bits a level, so
// that a packet is tested against sixteen rules a level and those of its bucket:
// about the square root of the number of services. A small service has
// no chain of its own: its DNAT rules lie in the bucket, which makes the first
// write four times as fast as with chains.
//
// Set compiles one Service's rows; Sync writes the chains that became different,
// whole, in one iptables-restore --noflush. Chains that do not begin with HW-
// are never touched, but for one jump in each built-in chain.
package iptables
