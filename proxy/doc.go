// Package proxy makes Services reachable from a node: it watches Services and
// EndpointSlices, keeps the kernel's rules in step with them, and answers
// cluster DNS from the same watch.
//
//	cache ──events──▶ tracker (what changed) ──▶ model.Ports ──▶ rules.Rows ──▶ backend ──▶ kernel
//	                        └─────────────────────────────────────────▶ dns.Zone ◀── dns.Server ◀── pods
//
// Changes that arrive while rules are being written are written together next
// time; a change on an idle proxy is written at once.
package proxy
