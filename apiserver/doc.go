// Package apiserver puts the Kubernetes API server together from its parts:
//
//	etcd ── store ── write path ──┬── rest (HTTPS)        kubectl, agents, everybody
//	                              └── inproc (no socket)  our own components
//
// Start makes everything ready in the order of need and Run serves until its
// context ends. Both transports share one store, one write path and one set of
// authorizers; who comes in process has no more rights than its identity.
package apiserver
