// Package kinds holds the rows of the kind table: every API kind that is built
// in, one function a kind that returns its *kind.Kind. What several kinds share
// (pod templates, label selectors, RBAC rules, metadata) has files of its own.
//
// To add a kind, write one file with a function that returns the row, and name
// it in All. Everything here is a pure function of its arguments: no I/O, no
// clock, no state.
package kinds
