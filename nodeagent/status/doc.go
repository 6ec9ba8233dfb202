// Package status says what a pod's status is: Compute is a function of the
// pod, of what the node has observed, and of the time, and Writer brings the
// result to the API. Phases, conditions and reasons are those of the
// Kubernetes API reference ("Pod Lifecycle").
package status
