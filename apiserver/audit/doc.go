// Package audit writes down who did what, as Kubernetes' audit log does: one
// audit.k8s.io/v1 Event a line, by an audit.k8s.io/v1 Policy.
//
//	request ─▶ Record (policy decides) ─▶ bounded buffer ─▶ Run writes, rotates
//	                                        │ full
//	                                        └▶ dropped, counted
//
// No request ever waits for the disk, and a cluster that nobody uses writes
// nothing: the default policy leaves out what the system reads, and what it
// writes again and again.
package audit
