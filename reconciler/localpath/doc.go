// Package localpath is the built-in provisioner headway.sh/local-path: volumes
// that are directories of one node.
//
//	claim + chosen node ──▶ volume with affinity to the node   (here)
//	first pod           ──▶ directory                          (the node's agent)
//	claim gone          ──▶ volume deleted                     (here)
//	                    ──▶ directory removed, then finalizer  (the node's agent)
//
// The finalizer keeps the volume until its node has removed the directory: data
// goes only on an explicit deletion under the policy Delete. Where the node is
// no more, or the policy is Retain, the volume goes at once and data stays
// where it is.
package localpath
