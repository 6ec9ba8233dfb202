// Package webhook hears from forges that somebody has pushed.
//
//	POST /hooks/NAME ─► bounded ─► authentic? ─► new? ─► about our ref? ─► annotation gitops.headway.sh/fetch
//	                     413         401         200         202            202
//
// All that a call can do is have the source's remote asked, which the engine's
// fetcher does at most once a second. The annotation tells it, so that a call
// may come to any server.
package webhook
