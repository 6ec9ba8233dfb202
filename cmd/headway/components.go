package main

import (
	"context"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"
)

// component is a part of the process with a life of its own.
type component struct {
	name string
	run  func(context.Context) error
}

// runAll runs the components until ctx ends or one of them fails. They are
// stopped in the reverse of their order, each after the ones behind it.
func runAll(ctx context.Context, log *slog.Logger, components []component) error {
	group, failed := errgroup.WithContext(ctx)
	done := make([]chan struct{}, len(components))
	for i := range components {
		done[i] = make(chan struct{})
	}
	for i, c := range components {
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		group.Go(func() error {
			<-failed.Done()
			for _, later := range done[i+1:] { // one that has failed says nothing about those behind it
				<-later
			}
			stop()
			return nil
		})
		group.Go(func() error {
			defer close(done[i])
			defer stop()
			err := c.run(own)
			switch {
			case err != nil:
				return fmt.Errorf("%s: %w", c.name, err)
			case failed.Err() == nil:
				return fmt.Errorf("%s ended by itself", c.name)
			}
			log.Debug("stopped", "component", c.name)
			return nil
		})
	}
	return group.Wait()
}
