// Package replicaset keeps as many pods as a ReplicaSet or a
// ReplicationController asks for. It writes pods (their existence and
// controller reference) and the status of the sets. Both kinds have the one
// reconciler: kind.go says what they differ in.
//
//	claim     adopt matching orphans, release owned pods that no longer match
//	diff      active pods against spec.replicas
//	create    in batches of 1, 2, 4 … so that a refusal costs little
//	delete    the least useful pods first (victims.go)
//	status    counts and conditions
//
// The client reads its own writes, so a pod that has been created is counted
// by the next pass; expectations are not needed and too many pods are never made.
package replicaset
