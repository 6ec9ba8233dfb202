package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
)

// trace records the order in which components end.
type trace struct {
	mu    sync.Mutex // guards ended
	ended []string
}

func (tr *trace) component(name string, fail error) component {
	return component{name, func(ctx context.Context) error {
		if fail == nil {
			<-ctx.Done()
		}
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.ended = append(tr.ended, name)
		return fail
	}}
}

func TestComponentsStopInReverse(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	tr := &trace{}
	done := make(chan error, 1)
	go func() {
		done <- runAll(ctx, slog.New(slog.DiscardHandler), []component{tr.component("api", nil), tr.component("controllers", nil), tr.component("agent", nil)})
	}()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := []string{"agent", "controllers", "api"}; !slices.Equal(tr.ended, want) {
		t.Errorf("ended as %v, want %v", tr.ended, want)
	}
}

func TestOneFailureStopsAll(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]component{
		"an error":         {"broken", func(context.Context) error { return errors.New("boom") }},
		"an end by itself": {"broken", func(context.Context) error { return nil }},
	} {
		tr := &trace{}
		err := runAll(t.Context(), slog.New(slog.DiscardHandler), []component{tr.component("api", nil), fail, tr.component("agent", nil)})
		if err == nil || !strings.Contains(err.Error(), "broken") {
			t.Errorf("%s: %v", name, err)
		}
		if want := []string{"agent", "api"}; !slices.Equal(tr.ended, want) {
			t.Errorf("%s: ended as %v, want %v", name, tr.ended, want)
		}
	}
}
