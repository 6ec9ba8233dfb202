// Package txn is the contract for what one-object-at-a-time clients cannot
// say: to look at all objects at one revision, to learn what a set of changes
// would do before anything is written, to write them at once, and to see or
// refuse writes where they happen.
//
//	View    all objects at one revision, plus pending changes   Reader
//	Plan    authorize, admit, default, validate; write nothing  Planner
//	Commit  one conditional transaction                          Committer
//	Epoch   make an old leader's writes impossible               Leader
//	Observe every write: who, before, after, revision            Observer
//	Guard   may refuse a write with a reason                     Guard
//
// The normal course is
//
//	view := db.View(ctx)
//	plan := db.Plan(ctx, view, identity, changes)   // every outcome or error
//	db.Commit(ctx, plan, txn.CommitOptions{})       // all of it or nothing
//
// When something that decided about the plan has changed since, Commit returns
// a *ConflictError that names it, and the caller plans again on a newer View.
// Run does that loop.
//
// There are two implementations: one inside the API server's process, and one
// over HTTPS. No component knows which it has. Neither is a back door: every
// call carries an identity that is authorized, admitted and audited.
//
// Objects that a View hands out are shared and immutable. Whoever wants to
// change one makes a deep copy first.
package txn
