// Package follow keeps what the agent needs of the API near at hand by
// watching it: whole lists that are the node's own (its pods, services, nodes)
// and single ConfigMaps and Secrets for as long as a pod refers to them, which
// is all that the Node authorizer lets an agent read.
//
// Watches are client-go's reflectors, so that resuming, expired revisions and
// back-off behave as everywhere else.
package follow
