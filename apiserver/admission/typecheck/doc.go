// Package typecheck writes down, in the status of every
// ValidatingAdmissionPolicy, which of its expressions do not fit the kinds that
// it is about.
//
//	policy changes ─▶ one goroutine: kinds of its rules ─▶ schemas ─▶ expressions ─▶ status
//
// Nobody waits for it: a policy is in force before, and whatever is found. What
// it needs is loaded when there is something to check and given back after.
package typecheck
