// Package revision keeps the history of a workload's pod template in
// ControllerRevisions, as StatefulSets and DaemonSets do. Their data is a patch
// that puts the template back, which is what kubectl's rollout history and undo
// read.
//
//	Settle    find or make the revision of the present template; the newest
//	          number is always its own, so that a rollback counts as a change
//	Truncate  delete the oldest ones that no pod has
//
// Templates are compared, not their hashes or encodings: revisions of the same
// template are the same, whoever made them.
package revision
