// Package emulator is a container runtime in memory. It applies what it is
// asked for, refuses what a real runtime would refuse, and dumps what it holds,
// so that the node agent's tests need neither root nor containerd.
//
// A container's first process is a Program: a function that runs until it
// returns an exit code. Programs are found by image (SetProgram) or by the
// command's first word (Commands); the clock that they and the runtime see is
// the one given to New, so a test steers how long things take.
//
//	rt := emulator.New(clock)
//	rt.AddImage(runtime.Image{ID: "sha256:…", References: []string{"docker.io/library/job:v1"}})
//	rt.SetProgram("job:v1", emulator.ExitAfter(time.Second, 3))
//	rt.FailNext("Start", &runtime.StartError{Reason: "StartError"})
package emulator
