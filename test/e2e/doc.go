// Package e2e drives the built binary from outside, as a person does. It wants
// root, since a node is the whole machine, and `make build` before.
package e2e
