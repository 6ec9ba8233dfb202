// Package policy enforces network policies for the pods of one node.
//
//	policies, slices of package podgroup, this node's pods
//	        │ one change at a time
//	        ▼
//	      Model ── a table of sets and chains for each address family, and what of it has changed
//	        │ Sync
//	        ▼
//	      Kernel ── ipset and iptables, or an emulator
//
// A pod that comes or goes changes elements of sets; chains change when a
// policy does. The chains for one direction, here of what comes in:
//
//	FORWARD ▶ the pod network's chain ▶ HWNP-HW0 ─ to an isolated pod ▶ HWNP-HW0-IN
//	  HWNP-HW0-IN: what is established returns; for each policy: its pods ▶ HWNP-HW0-<hash>;
//	               what no policy has marked by then is dropped
//	  HWNP-HW0-<hash>: one rule for each peer and port, which marks the packet
//
// Only forwarded packets are looked at: what the node itself sends to its pods,
// and they to it, is always allowed.
package policy
