// Package policy holds writes to the ValidatingAdmissionPolicies of the View.
//
//	policy ─ constraints match? ─▶ bindings of it ─ match? ─▶ params of each ─▶ expressions ─▶ Deny, Warn, Audit
//
// Policies, bindings, params and namespaces are read from the View, so that a
// commit which brings a policy along is judged by it. What decided about a
// write is compared when it is written.
package policy
