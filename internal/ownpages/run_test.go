package ownpages

import (
	"context"
	"os"
	goruntime "runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	clocktesting "k8s.io/utils/clock/testing"
)

// TestRun: pages go after the start, and again once work has brought them in.
func TestRun(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, clk, 1) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for _, after := range []time.Duration{AfterStart, Every} {
		for !clk.HasWaiters() {
			goruntime.Gosched()
		}
		full := touch(t)
		clk.Step(after)
		deadline := time.Now().Add(20 * time.Second)
		for fileBacked(t) > full/2 {
			if time.Now().After(deadline) {
				t.Fatalf("%d kB of %d are still there after %s", fileBacked(t), full, after)
			}
			goruntime.Gosched()
			clk.Step(Every) // reading /proc has used CPU time: a later look finds the process idle
		}
	}
}

// touch brings all of the program in and tells how much that is, in kilobytes.
func touch(t *testing.T) int {
	t.Helper()
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	ranges, err := clean(maps, program)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range ranges {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.start, r.end-r.start, unix.MADV_POPULATE_READ); errno == unix.EINVAL {
			t.Skip("needs Linux 5.14")
		} else if errno != 0 {
			t.Fatal(errno)
		}
	}
	return fileBacked(t)
}
