// Package store is the API server's state: every object decoded once, shared
// and immutable, in front of etcd.
//
//	writers ──Txn──▶ etcd ──one watch on the whole range──▶ apply loop
//	                                                           │ one goroutine
//	                                            decode, update trees, append log
//	                                                           ▼
//	               readers ◀── Snapshot (a pointer) ── publish ──▶ watchers
//
// Promises: a Snapshot is all objects at one revision; a transaction appears
// whole or not at all; watchers see every matching change once, in order,
// without gaps; a write's answer is in the writer's own Snapshot before Txn
// returns; nothing acknowledged is lost.
package store
