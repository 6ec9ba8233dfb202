// Package webhook asks the servers of MutatingWebhookConfigurations and
// ValidatingWebhookConfigurations about writes.
//
//	write ─ rules, selectors, conditions ─▶ mutating, one after the other ─ JSON patches ─▶ default
//	                                        │ changed: steps before it, and IfNeeded ones, again
//	      ─ validate ─▶ validating, all at once ─▶ store
//
// Nothing is held while a webhook thinks: a plan is a function of a View, and
// other writes go on beside it. An answer is bounded in size and time; a
// redirect is never followed. What goes wrong in asking refuses the write or
// not, as the failure policy says.
//
// A write that loses a race is planned, and its webhooks are asked, again. They
// are not asked on a View that may be old.
package webhook
