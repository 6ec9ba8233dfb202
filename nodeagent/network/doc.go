// Package network is the pods' network on a node: a bridge with one pair of
// links for each pod, addresses from the node's pod CIDR, routes to the other
// nodes', masquerading for what leaves the cluster, host ports, and the files
// in a pod that tell about it.
package network
