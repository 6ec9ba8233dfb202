// Package expression compiles and evaluates the CEL expressions of admission:
// the match conditions of webhooks and the whole of a
// ValidatingAdmissionPolicy, with the variables, costs and messages that the
// API reference promises. The evaluators are those of k8s.io/apiserver.
//
// Environments are made at the first expression, so that a cluster without any
// pays nothing for them. What is compiled is immutable and safe for concurrent
// use; callers keep it for as long as the object it came from does not change.
package expression
