package spareheap

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

func TestDue(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for _, one := range []struct {
		name              string
		last, before, now reading
		want              bool
	}{
		{"after a burst", reading{}, reading{90 * mb, 500 * mb}, reading{90 * mb, 501 * mb}, true},
		{"in a burst", reading{}, reading{90 * mb, 500 * mb}, reading{90 * mb, 600 * mb}, false},
		{"little is spare", reading{}, reading{9 * mb, 500 * mb}, reading{9 * mb, 501 * mb}, false},
		{"nothing has happened since the last time", reading{30 * mb, 500 * mb}, reading{31 * mb, 502 * mb}, reading{32 * mb, 504 * mb}, false},
		{"idle work has added up", reading{1 * mb, 500 * mb}, reading{29 * mb, 560 * mb}, reading{30 * mb, 563 * mb}, true},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			if got := due(one.last, one.before, one.now); got != one.want {
				t.Errorf("due %v, want %v", got, one.want)
			}
		})
	}
}

// TestRun leaves garbage and waits until it is given back.
func TestRun(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Now())
	done := make(chan error, 1)
	go func() { done <- Run(t.Context(), clk) }()
	for !clk.HasWaiters() {
		runtime.Gosched()
	}
	released := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/released:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	garbage := make([]byte, 256<<20)
	for i := 0; i < len(garbage); i += 4096 {
		garbage[i] = 1
	}
	before := released()
	runtime.KeepAlive(garbage)
	deadline := time.Now().Add(20 * time.Second)
	for released() < before+128<<20 {
		if time.Now().After(deadline) {
			t.Fatalf("released %d MB, %d MB before", released()>>20, before>>20)
		}
		clk.Step(Every)
		runtime.Gosched()
	}
}
