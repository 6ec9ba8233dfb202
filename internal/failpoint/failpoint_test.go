package failpoint_test

import (
	"context"
	"errors"
	"testing"

	"github.com/headway-sh/headway/internal/failpoint"
)

func TestHit(t *testing.T) {
	clear, err := failpoint.Set("here", "2*error:boom")
	if err != nil {
		t.Fatal(err)
	}
	if err := failpoint.Hit(t.Context(), "here"); err != nil {
		t.Fatalf("first hit: %v, want it to pass", err)
	}
	err = failpoint.Hit(t.Context(), "here")
	if !failpoint.Is(err) || err.Error() != "failpoint here: boom" {
		t.Fatalf("second hit: %v", err)
	}
	if err := failpoint.Hit(t.Context(), "elsewhere"); err != nil {
		t.Fatalf("another point: %v", err)
	}
	if n := failpoint.Hits("here"); n != 2 {
		t.Fatalf("the point was hit %d times, want 2", n)
	}
	clear()
	if n := failpoint.Hits("here"); n != 0 {
		t.Fatalf("a point that is off was hit %d times", n)
	}
	if err := failpoint.Hit(t.Context(), "here"); err != nil {
		t.Fatalf("cleared point: %v", err)
	}
}

func TestPauseEndsWithContextOrClear(t *testing.T) {
	clear, err := failpoint.Set("gate", "pause")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := failpoint.Hit(ctx, "gate"); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled wait: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- failpoint.Hit(t.Context(), "gate") }()
	clear()
	if err := <-done; err != nil {
		t.Fatalf("released wait: %v", err)
	}
}

func TestEnvironmentRefusesNonsense(t *testing.T) {
	for _, v := range []string{"x", "x=explode", "x=0*exit"} {
		t.Setenv(failpoint.Variable, v)
		if failpoint.FromEnvironment() == nil {
			t.Errorf("%q was accepted", v)
		}
	}
}
