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
		{"after a burst", reading{}, reading{90 * mb, 500 * mb, 0}, reading{90 * mb, 501 * mb, 0}, true},
		{"in a burst", reading{}, reading{90 * mb, 500 * mb, 0}, reading{90 * mb, 600 * mb, 0}, false},
		{"little is spare", reading{}, reading{9 * mb, 500 * mb, 0}, reading{9 * mb, 501 * mb, 0}, false},
		{"nothing has happened since the last time", reading{30 * mb, 500 * mb, 0}, reading{31 * mb, 502 * mb, 0}, reading{32 * mb, 504 * mb, 0}, false},
		{"idle work has added up", reading{1 * mb, 500 * mb, 0}, reading{29 * mb, 560 * mb, 0}, reading{30 * mb, 562 * mb, 0}, true},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			if got := due(one.last, one.before, one.now); got != one.want {
				t.Errorf("due %v, want %v", got, one.want)
			}
		})
	}
}

func TestPercent(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for name, test := range map[string]struct {
		live, rate uint64
		want       int
	}{
		"small and idle":       {13 * mb, mb / 10, 123},
		"small and at work":    {13 * mb, 100 * mb, 200},
		"large and idle":       {400 * mb, mb, 25},
		"large, a little":      {150 * mb, 6 * mb, 60},
		"large and at work":    {150 * mb, 200 * mb, 200},
		"nothing is known":     {0, 0, 200},
		"nothing is known yet": {0, 50 * mb, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Percent(test.live, test.rate, 200); got != test.want {
				t.Errorf("%d %%, want %d", got, test.want)
			}
		})
	}
}

// TestRun leaves garbage and waits until it is given back.
func TestRun(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Now())
	done := make(chan error, 1)
	go func() { done <- Run(t.Context(), clk, 0) }()
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
