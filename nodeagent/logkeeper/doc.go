// Package logkeeper is the small process that holds the output of all
// containers of a node. It lives outside the agent, the server and containerd,
// so that none of their restarts blocks a writer or loses a line.
//
//	container ──pipe──▶ shim ──FIFO──▶ keeper ──▶ log file in CRI format, rotated
//	                                      └─────▶ clients that are attached
//
// The keeper makes each container's FIFOs and holds them open for reading and
// writing: neither side ever sees the end of file or a broken pipe. Killing
// the keeper itself loses and repeats nothing: the shims hold the FIFOs open
// too, its state file says which to open again, and what it has taken from a
// FIFO rests in a file beside it until it is in the log (see pending).
//
// The protocol on its unix socket is one JSON object a line each way (see
// request and response); after a "tail" the keeper sends frames: one byte for
// the stream (1, 2), four for the length (big endian), the bytes.
package logkeeper
