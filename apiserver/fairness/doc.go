// Package fairness lets requests in each in its turn, as Kubernetes' API
// priority and fairness does (KEP-1040): FlowSchemas sort requests into flows
// and priority levels, PriorityLevelConfigurations share the server's seats out
// among levels, and within a level flows queue beside each other.
//
//	request ─▶ place (match.go) ─▶ level ─▶ queue of its flow ─▶ seat ─▶ answer
//	                                 │ full, or waited too long
//	                                 └▶ 429, Retry-After
//
// Queues, shuffle sharding and dispatch are k8s.io/apiserver's queue sets; what
// feeds them is here, as functions of stored objects (match.go, share.go) and
// of the demand that was seen (share.go). Limits move by what levels need, but
// only while there are requests: a server that nobody asks does nothing.
package fairness
