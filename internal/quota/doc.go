// Package quota is the arithmetic of ResourceQuotas: what an object uses, which
// quotas it counts in, what a namespace uses in all. It reads no store and has
// no state; the API server charges writes with it and a controller counts
// whole namespaces with it, so that both come to the same numbers.
//
// See https://kubernetes.io/docs/concepts/policy/resource-quotas/.
package quota
