// Package horizontalpodautoscaler keeps the number of replicas of whatever has a
// scale where its metrics want it. It writes scales and the status of
// HorizontalPodAutoscalers.
//
//	read      the scale, the pods behind it, a reading for each metric
//	propose   replicas for each metric (usage.go); the highest counts
//	limit     stabilization windows and policies (limits.go)
//	write     the scale, then the status
//
// Decide is all but the first and the last as a function. What was recommended
// and done lately is kept in memory, as in Kubernetes: after a restart windows
// begin anew, with the replicas that there are.
package horizontalpodautoscaler
