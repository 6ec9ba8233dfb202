// Package dns answers the names of Services and headless pods as the
// Kubernetes DNS specification (version 1.1.0) has them, and forwards all other
// names. A Zone holds the records, in memory, by name; a Server answers from
// it on every node, so that names resolve while the control plane is away.
//
//	packet ─▶ parse ─▶ ready: packed answers of this version of the zone
//	            └─ else ─▶ answer ─▶ Zone.Lookup, chase, targets
//	                         └─ not ours ─▶ upstreams: kept answers, resolvers
package dns
