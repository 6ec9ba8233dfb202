// Package static reads the pods that lie as files in a directory of the node:
// pods that run without any server.
//
//	DIR/web.yaml ──▶ web-<node>, with the annotations
//	                 kubernetes.io/config.source: file
//	                 kubernetes.io/config.hash:   <uid>, other when the file is
//	                 headway.sh/config.file:      web.yaml
//
// A file holds one Pod in YAML or JSON. A broken one is told of by name; what
// ran from it before goes on.
package static
