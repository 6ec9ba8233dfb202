// Package rules is the pure core of the service proxy: what a node does with
// the packets of a ServicePort, as rows of a table. A row names what clients
// connect to and what becomes of packets from the cluster's pods, from the node
// itself and from the rest of the world. Backends only write rows down in their
// kernel's language; backendtest holds them all to the same answers.
package rules
