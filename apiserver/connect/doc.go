// Package connect hands what is behind pods, services and nodes (logs, exec,
// attach, port-forward, proxy) over to whom it belongs to.
//
//	pods/log, exec, attach, portforward ─┐
//	nodes/proxy ─────────────────────────┴─▶ the node's agent
//	pods/proxy, services/proxy ────────────▶ a pod's own address
//
// An agent is believed by the node-serving authority and the node's own name,
// so that a node which changes its address reaches nobody else. A proxied
// request goes to an address that a pod has now, never to a name, never to
// this machine's loopback, a link-local address or this API server, and a
// redirect is not followed.
//
// Agents speak SPDY. WebSocket clients of exec and attach (v5.channel.k8s.io)
// are translated here, those of port-forward are tunnelled.
package connect
