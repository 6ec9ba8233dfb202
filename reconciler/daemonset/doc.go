// Package daemonset keeps one pod of a DaemonSet on every node that it is for.
// It writes pods, ControllerRevisions and the status of DaemonSets.
//
//	claim ──▶ revisions ──▶ Next(state) ──▶ create | delete ──▶ history, status
//
// Which nodes a set is for (nodes.go) and what to do (plan.go) are functions of
// what was read. The scheduler binds the pods: each may go to its own node only.
// A change of a node asks only the sets that judge it differently than before.
package daemonset
