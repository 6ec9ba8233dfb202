// Package probe asks containers how they are: by HTTP, TCP, gRPC or a command,
// as often as their probes say, and reports what the answers add up to.
//
// A container's startup probe goes first; the others begin when it has
// succeeded. Until a startup or readiness probe has succeeded for the first
// time it is tried more often than its period, so that a container that is up
// in 50 ms is not found ready ten seconds later; these early tries never count
// as failures.
package probe
