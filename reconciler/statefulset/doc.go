// Package statefulset keeps pods with names of their own and claims that stay
// with the name. It writes pods, PersistentVolumeClaims of templates,
// ControllerRevisions and the status of StatefulSets.
//
//	claim ──▶ revisions ──▶ Next(state) ──▶ create | delete | repair ──▶ claims' owners, history, status
//
// The core (plan.go) is a function of what was read. A set that is OrderedReady
// takes one step a pass and waits for each pod; one that is Parallel takes all
// of them at once. Updates go from the highest ordinal down to the partition,
// with no more than maxUnavailable pods away.
//
//	slots     start … start+replicas-1: the pods that there should be
//	condemned pods beyond them, highest ordinal first
//
// A rollout that is stuck on a pod which never gets ready does not need a hand:
// when the template changes again, or goes back, the update takes that pod
// first, as its loss costs no availability.
package statefulset
