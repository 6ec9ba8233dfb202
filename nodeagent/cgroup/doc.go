// Package cgroup keeps the pods' control groups, on cgroup v1 and v2:
//
//	/headway/guaranteed/pod<uid>
//	/headway/burstable/pod<uid>
//	/headway/besteffort/pod<uid>
//
// The tree is at the hierarchies' root, not below the unit that the agent runs
// in, so that nothing that happens to the unit happens to the pods. The runtime
// puts each container's own group below its pod's.
package cgroup
