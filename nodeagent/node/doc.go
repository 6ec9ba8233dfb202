// Package node is the agent's own Node object: it registers it, keeps its
// status true and writes it only when it has changed, learns the pod CIDR that
// the control plane gives, and routes to the other nodes' pods.
//
// That the node is alive is not told by writes but by a Heartbeat: a stream to
// one of the servers.
package node
