// Package rest is the Kubernetes REST API over HTTP: it turns requests into
// reads of the store and changes for the write path, and shared objects into
// bytes. It knows no kind by name; the kind table says what exists.
//
//	request ── path ── who ── may they ──┬─ get, list ── shared entries ── encoded once ── wire
//	          parse   authn   authz      ├─ watch ────── events + selector transitions ─── frames
//	                                     ├─ create, update, patch, delete ── Writer (write path)
//	                                     ├─ connect (log, exec, proxy) ───── Connector (node agents)
//	                                     └─ reviews, health, version, discovery, OpenAPI
//
// What it needs from others are the small interfaces in needs.go.
package rest
