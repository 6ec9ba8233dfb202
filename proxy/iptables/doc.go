// Package iptables makes service rules for the kernel's iptables.
//
//	nat: PREROUTING, OUTPUT ─▶ HW-SERVICES ─▶ HW-G-<bucket> ─▶ HW-S-<hash> ─▶ DNAT
//	                               └─ to a local address ─▶ HW-NODEPORTS ─▶ HW-X-<hash> ─▶ HW-S-<hash>
//	     POSTROUTING ─▶ HW-POSTROUTING: masquerade what is marked, and hairpins
//	filter: INPUT, FORWARD, OUTPUT ─▶ HW-REJECT: services without endpoints
//
// A bucket is chosen by the low bits of the address, so that a packet is tested
// against about the square root of the number of services. Endpoints have no
// chains: a service's chain holds one DNAT rule for each.
//
// Build is pure. Diff gives the input for one iptables-restore --noflush that
// touches changed chains only. Chains that do not begin with HW- are never
// touched, but for one jump in each built-in chain.
package iptables
