// Package resourcequota counts what namespaces use of their ResourceQuotas. It
// writes the status of ResourceQuotas.
//
// The API server keeps a counted quota exact: it writes the use in the
// transaction of every object. So this controller counts a whole namespace
// only when the limits are new, when time alone changes the use (a pod that is
// stuck in termination no longer counts), and, not more often than every ten
// seconds, when the use has changed: that mends what was edited by hand, or was
// written while the quota was being made.
package resourcequota
