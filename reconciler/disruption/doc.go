// Package disruption keeps the status of PodDisruptionBudgets: how many of the
// pods that a budget protects are healthy, how many must be, and so how many may
// be evicted. Eviction itself is the API server's, which takes one off
// disruptionsAllowed and notes the pod in disruptedPods; a pod noted there counts
// as gone until it has gone, or for two minutes at most.
//
// How many pods there should be is asked of their controllers' scale: of the
// Deployment for the pods of its ReplicaSets, else of whatever controls them.
//
// It also takes back the condition DisruptionTarget from pods that were to be
// disrupted and have not been for two minutes.
package disruption
