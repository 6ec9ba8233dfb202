// Package remote is the transaction contract over HTTPS: the client, and the
// messages that it and the server (apiserver/txnhttp) exchange.
//
//	POST /apis/txn.headway.sh/v1/view     resources           → lines: revision, then objects
//	POST …/plan                           changes             → outcomes
//	POST …/commit                         changes, what was planned → what was written
//	POST …/notes, …/acquire               prefix, name        → notes, epoch
//	GET  …/observe                                            → lines: writes, as they happen
//
// The server keeps nothing between a plan and its commit: Commit sends the
// changes again with what the plan rested on, the server plans anew, and
// refuses with a conflict when anything of that is different.
package remote
