// Package hosted serves the repositories that the server keeps itself to git,
// for reading: smart HTTP, protocol version 0.
//
//	GET  /git/NAME/info/refs?service=git-upload-pack ─► who? ─► may he? ─► references
//	POST /git/NAME/git-upload-pack                       401     403       ─► acknowledgements, pack
//	     /git/NAME/...git-receive-pack                   ──────────────────► 403, with where to push instead
//
// Requests and answers are bounded in size, number and time. A pack has what
// the client lacks by its own word; shallow and partial clones are not offered.
package hosted
