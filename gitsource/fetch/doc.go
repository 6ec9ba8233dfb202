// Package fetch keeps one mirror, and asks one remote once, for however many
// sources read it.
//
//	Join ─► asked at once ─► waiting ─► asked again ─► … ─► the last one leaves
//	                          │    ▲
//	     interval ± a tenth, ─┘    └─ Now (a webhook, a person), at most once a
//	     longer after failures        second, and not while the remote wants quiet
//
// What is known of a remote stays on disk and is read from there, whether the
// remote is there or not.
package fetch
