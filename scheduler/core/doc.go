// Package core decides which node a pod goes to. It has no clock, no I/O and
// no goroutine: a decision is a function of the State, the pod and the seed.
//
//	State    nodes with their usage, kept up to date by O(changed) updates
//	Pod      a pod with everything about it that decisions ask for, computed once
//	Decide   State + Pod → Decision (a node, or why there is none)
//
// Filters and scores are tables. Most of them look at one pod and one node
// only (filter.go, score.go); for those, pods that look alike (the same Class)
// share a ranking of the nodes, in which only the nodes that have changed
// since the last decision are looked at again (ranking.go). A pod for which
// other pods matter (topology spread, affinity between pods) is weighed
// against every node (domain.go).
package core
