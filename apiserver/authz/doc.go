// Package authz decides what an identity may do: the system:masters group,
// then the Node authorizer, then RBAC. Every decision is a function of a View,
// so that a plan is decided by the roles of the same plan.
//
// Role bindings are found through the index IndexSubject, so a decision costs
// what the user's own bindings cost, however many others there are.
package authz
