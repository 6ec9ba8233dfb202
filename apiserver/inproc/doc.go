// Package inproc is how components inside the API server's process reach it:
// controller-runtime's client and cache, and api/txn, straight on the store
// and the write path.
//
//	Server.For(identity) ─▶ Peer ─┬─ Client()  reads are current, writes go through the write path
//	                              ├─ Cache()   reads and events of what this process has
//	                              └─ Txn()     View, Plan, Commit, Observe, Guard
//
// It is no back door. Every read, every opened cache and every write is
// authorized under the peer's identity, and errors are the API statuses that a
// client would get over HTTPS.
//
// Get and List give deep copies, as client code expects. Handlers of cache
// informers get the store's shared objects and must not change them.
package inproc
