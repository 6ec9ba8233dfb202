// Package nodeagent does on a node what a kubelet does: it runs the pods that
// are bound to the node and says in the API how they are.
//
// Each pod has one worker, a goroutine that owns all that is known of it.
// Changes of the API, events of the runtime, probes' results and the ends of
// its own operations reach it through its inbox; after each it asks package
// plan what to do next, starts that beside itself, and publishes the pod's
// status. Nothing polls.
//
// What happens around a pod's containers is the list in hooks.go.
package nodeagent
