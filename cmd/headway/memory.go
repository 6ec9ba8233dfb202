package main

import (
	"context"
	"log/slog"
	"os"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/internal/ownpages"
	"github.com/headway-sh/headway/internal/spareheap"
)

// ownPages is the component that gives those of the program's pages back that
// the start or a burst of work has brought in.
func ownPages(clk clock.WithTicker, log *slog.Logger) component {
	return component{"own pages", func(ctx context.Context) error {
		if err := ownpages.Run(ctx, clk); err != nil {
			log.Debug("the program's own pages stay", "err", err)
		}
		return nil
	}}
}

// spareHeap is the component that keeps the heap as large as the work needs it,
// unless the environment has another word.
func spareHeap(clk clock.WithTicker, percent int) component {
	if os.Getenv("GOGC") != "" {
		percent = 0
	}
	return component{"spare heap", func(ctx context.Context) error { return spareheap.Run(ctx, clk, percent) }}
}
