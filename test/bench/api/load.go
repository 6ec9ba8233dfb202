package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// load is what a round of operations has cost.
type load struct {
	n    int
	cpu  time.Duration // of the server
	wall time.Duration
	all  []time.Duration // latencies
}

// operation is the ith of a round, by one client.
type operation func(ctx context.Context, c *http.Client, i int) error

// load runs n operations by all clients, as fast as they go.
func (b *bench) load(ctx context.Context, name string, n int, do operation) (*load, error) {
	clients := make([]*http.Client, b.clients)
	for i := range clients {
		clients[i] = b.server.client()
		defer clients[i].CloseIdleConnections()
		// The handshake is not the operation's.
		if _, err := b.server.do(ctx, clients[i], request{path: "/readyz"}); err != nil {
			return nil, err
		}
	}
	defer b.profile(ctx, name)()
	l := &load{n: n, all: make([]time.Duration, n)}
	before, err := b.server.CPUTime()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	var next atomic.Int64
	g, running := errgroup.WithContext(ctx)
	for _, c := range clients {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				at := time.Now()
				if err := do(running, c, i); err != nil {
					return err
				}
				l.all[i] = time.Since(at)
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	l.wall = time.Since(begin)
	after, err := b.server.CPUTime()
	l.cpu = after - before
	return l, err
}

// each is the CPU time of one operation.
func (l *load) each() time.Duration { return l.cpu / time.Duration(l.n) }

// print reports the CPU time of one operation, and below it the latencies.
func (b *bench) print(name string, l *load, reference, aim string) {
	b.report.Mean(name+", CPU", microseconds(l.each()), l.n, reference, aim)
	b.report.Times(fmt.Sprintf("  latency, %d clients, %.0f/s", b.clients, float64(l.n)/l.wall.Seconds()), l.all, "", "")
}

func microseconds(d time.Duration) string {
	if d < 10*time.Microsecond {
		return fmt.Sprintf("%.2f µs", float64(d.Nanoseconds())/1000)
	}
	return fmt.Sprintf("%.0f µs", float64(d.Nanoseconds())/1000)
}
