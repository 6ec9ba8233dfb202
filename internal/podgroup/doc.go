// Package podgroup names the groups of pods that network policies speak of: the
// peers that a selector finds. A controller, which may see all pods, publishes
// each group's addresses as EndpointSlices in one namespace; nodes, which may
// not, read who the peers are from there. Both find a group's name by the
// same function of its selectors, so nothing else has to be agreed upon.
//
// A slice holds a group's pods of one address family and with the same named
// ports. Its ports are called PROTOCOL-NAME, such as tcp-http, because pods may
// use one name for several protocols.
package podgroup
