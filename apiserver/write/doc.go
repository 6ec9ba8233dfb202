// Package write is the one way in which objects change: REST requests, plans
// and commits of whole sets, and the clients inside the process all go
// through the same pipeline, so that what is refused for one is refused for
// all and a plan says what a commit will do.
//
//	Change ─ resolve ─ authorize ─ read ─ decode or patch ─ default ─ managedFields
//	       ─ mutating steps ─ Prepare ─ validate ─ validating steps ─ guards ─▶ Outcome
//
//	Do      View → plan one → dry run: answer
//	                        → store.Txn ─ conflict → newer View, plan again
//	Plan    View → plan each on top of the ones before → Result
//	Commit  Result → one store.Txn
//
// Planning is a function of the View, the identity and the change: it reads
// nothing else and writes nothing. What decided about it besides the object
// itself (a namespace that must not be terminating) is compared by revision
// in the transaction.
//
// All errors are API statuses with the codes, reasons and messages that
// clients of Kubernetes know.
package write
