// Package network is the pods' network on a node: a pair of links for each pod,
// addresses from the node's pod CIDR, routes to the other nodes', masquerading
// for what leaves the cluster, host ports, and the files in a pod that tell
// about it.
//
//	 pod                        node
//	┌─────────────────────┐    ┌─────────────────────────────────────────────┐
//	│ eth0 10.244.3.2/32 ─┼────┼─ hw0.<hash>   10.244.3.2 dev hw0.<hash>      │
//	│ default via .1      │    │  hw0 .1/32    10.244.3.0/24 unreachable      │
//	└─────────────────────┘    │               10.244.4.0/24 via another node │
//	                           └─────────────────────────────────────────────┘
//
// Pods share no link: whatever they say to each other is forwarded by the node,
// past the rules that services and network policies are made of, and a pod
// cannot send with an address that is not its own.
package network
