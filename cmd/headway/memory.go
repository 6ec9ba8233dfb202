package main

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/internal/ownpages"
	"github.com/headway-sh/headway/internal/spareheap"
)

// startPagesAfter is when a process is done with what its start alone needed.
const startPagesAfter = 10 * time.Second

// startPages is the component that gives the program's start-up pages back.
func startPages(clk clock.Clock, log *slog.Logger) component {
	return component{"start pages", func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-clk.After(startPagesAfter):
		}
		if err := ownpages.Release(); err != nil {
			log.Debug("pages that the start has touched stay", "err", err)
		}
		<-ctx.Done()
		return nil
	}}
}

// spareHeap is the component that gives memory back when a burst is over.
func spareHeap(clk clock.WithTicker) component {
	return component{"spare heap", func(ctx context.Context) error { return spareheap.Run(ctx, clk) }}
}
