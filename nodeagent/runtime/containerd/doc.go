// Package containerd is the container runtime on containerd (1.6 or newer)
// with runc.
//
// A sandbox has no pause process: its namespaces are pinned by bind mounts
// below RunDir, so they outlive the agent and containerd.
//
//	RunDir/pods/<uid>/{net,ipc,uts}   pinned namespaces
//	RunDir/pods/<uid>/shm             /dev/shm of all its containers
//	RunDir/pods/<uid>/sandbox.json    what StartSandbox was asked for
//	RunDir/containers/<id>.json       when a container started, how it ended
//	RunDir/io/                        FIFOs
//
// All containers of a pod share one shim (runc's shim groups by annotation).
// An exited task stays in its shim until its exit code and time are written
// down; containerd may be away meanwhile.
package containerd
