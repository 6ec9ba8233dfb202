// Package serve is the agent's HTTPS server: containers' logs, exec, attach and
// port-forward for the API server, what the node's pods use, and the agent's
// health.
//
//	GET      /containerLogs/{namespace}/{pod}/{container}
//	GET,POST /exec/{namespace}/{pod}[/{uid}]/{container}
//	GET,POST /attach/{namespace}/{pod}[/{uid}]/{container}
//	GET,POST /portForward/{namespace}/{pod}[/{uid}]
//	GET      /pods
//	GET      /metrics
//	GET      /metrics/resource
//	GET      /stats/summary
//	GET      /healthz
//
// Everything but /healthz needs a client certificate that the Authorizer lets
// in. What a path names is looked up among the node's pods and never becomes
// part of a file's name. What pods use is read when somebody asks.
package serve
