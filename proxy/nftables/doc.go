// Package nftables writes service rows down as maps of the kernel's nftables, in
// a table of its own for each address family.
//
//	prerouting, output ─▶ services: services vmap ─▶ row-<hash>, of-<n>
//	                         │      one-0, two-<i>, …: endpoints by frontend
//	                         └─ to a local address ─▶ node-services, the same by port
//	postrouting: masquerade what is marked, what comes to cluster IPs from outside, hairpins
//	input, forward, output ─▶ refuse: refused vmap
//	raw: no loopback address comes from a wire
//
// A packet is looked up, not tested rule by rule, and nothing is said twice: a
// service's endpoints are the elements of its frontend in the maps for its
// number of endpoints. Rows that need more have a chain of their own.
//
// Set computes the things (elements, chains, sets, maps) that a Service wants;
// Sync writes those that became different, in one transaction. Everything is in
// our own table; others' are not read.
package nftables
