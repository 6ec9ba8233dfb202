// Package store is the API server's state: every object decoded once, shared
// and immutable, in front of etcd.
//
//	writers ──Txn──▶ etcd ──one watch on the whole range──▶ apply loop
//	                                                           │ one goroutine
//	                                            decode, update trees, append log
//	                                                           ▼
//	               readers ◀── Snapshot (a pointer) ── publish ──▶ watchers
//
// In etcd the keys are
//
//	/headway/epochs/NAME     the newest epoch of a singleton
//	/headway/marker          written after every batch
//	/headway/notes/KEY       records written along with a transaction
//	/registry/PREFIX/…       the objects
//
// and one watch covers them all, so that the store's revision is etcd's.
//
// A transaction that writes several objects is a batch. The state after a batch
// is published together with the next revision, which is the marker's if
// nobody else writes: a list or a bookmark at a batch's revision would be
// ambiguous for those who resume there, because an event of a batch carries the
// same revision when others of the batch are still to come. Resuming at a
// revision therefore replays all of it when more than one of its events is the
// watch's. If the writer of a batch dies before it writes the marker, every
// store that sees the batch does so after a moment, and so does Open.
//
// Watchers are cursors into bounded logs of shared events: one log a resource,
// and one for every namespace, object and index value that somebody watches. A
// change wakes those whom it concerns and costs the others nothing.
//
// Promises: a Snapshot is all objects at one revision; a transaction appears
// whole or not at all; watchers see every matching change once, in order,
// without gaps; a write's answer is in the writer's own Snapshot before Txn
// returns; nothing acknowledged is lost.
package store
