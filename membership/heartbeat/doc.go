// Package heartbeat is the stream by which a server knows that an agent lives
// (and the agent that the server does): one byte a second each way over one
// authenticated HTTPS request. Three missed beats or a reset stream make the
// agent suspect; the node-life controller decides what follows.
//
//	agent ── POST /headway/v1/heartbeat, body: a byte a second ──▶ server
//	      ◀──────────── response body: each byte echoed ─────────
//
// Where packets are lost a stream stands still; probes say then whether the
// other side is there, see probe.go.
package heartbeat
