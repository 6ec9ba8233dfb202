package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	lists       = 20
	parallel    = 16
	perParallel = 4
	// otherEvery is how often somebody else asks for something meanwhile.
	otherEvery = 5 * time.Millisecond
)

// list measures lists of all pods as bytes, alone and many at once, beside a
// bare server that sends the same bytes.
func (b *bench) list(ctx context.Context) error {
	if _, err := b.createPods(ctx); err != nil {
		return err
	}
	c := b.server.client()
	defer c.CloseIdleConnections()
	bytes, err := b.server.do(ctx, c, request{path: pods})
	if err != nil {
		return err
	}
	bare, err := startBare(ctx, b.dir, bytes)
	if err != nil {
		return err
	}
	defer bare.kill()
	var own, floor []time.Duration
	for range lists { // in turns: the machine's load is the same for both
		for _, one := range []struct {
			s   *server
			all *[]time.Duration
		}{{b.server, &own}, {bare, &floor}} {
			took, err := one.s.read(ctx, pods)
			if err != nil {
				return err
			}
			*one.all = append(*one.all, took)
		}
	}
	b.report.Times(fmt.Sprintf("LIST of %d pods, %.1f MB of JSON", b.options.pods, float64(len(bytes))/1e6), own, "300 ms", "≤ 90 ms")
	b.report.Times("  the same bytes from a bare server", floor, "", "60–70 ms")
	return b.parallel(ctx, bare, len(bytes))
}

// read reads an answer on a connection of its own and throws it away.
func (s *server) read(ctx context.Context, path string) (time.Duration, error) {
	c := s.client()
	defer c.CloseIdleConnections()
	if _, err := s.do(ctx, c, request{path: "/readyz"}); err != nil {
		return 0, err
	}
	return s.discard(ctx, c, path)
}

func (s *server) discard(ctx context.Context, c *http.Client, path string) (time.Duration, error) {
	begin := time.Now()
	answer, err := s.open(ctx, c, request{path: path})
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return time.Since(begin), errors.Join(err, answer.Body.Close())
}

// parallel compares the throughput of many lists at once, and looks at what
// others have to wait meanwhile.
func (b *bench) parallel(ctx context.Context, bare *server, size int) error {
	// The first round lets both grow their buffers.
	var rates [2]float64
	var others [2][]time.Duration
	defer b.profile(ctx, "list")()
	for range 2 {
		for i, s := range []*server{b.server, bare} {
			took, waits, err := s.storm(ctx)
			if err != nil {
				return err
			}
			rates[i] = float64(parallel*perParallel*size) / took.Seconds() / 1e6
			others[i] = append(others[i], waits...)
		}
	}
	b.report.Value(fmt.Sprintf("  %d in parallel, of a bare server's throughput", parallel), fmt.Sprintf("%.0f %%", 100*rates[0]/rates[1]),
		fmt.Sprintf("bare: %.0f MB/s", rates[1]), "≥ 85 %")
	b.report.Times("  other requests meanwhile", others[0], "", "p99 ≤ 50 ms")
	b.report.Times("  other requests to the bare server meanwhile", others[1], "", "")
	return nil
}

// storm reads many lists at once, and asks for something else now and then.
func (s *server) storm(ctx context.Context) (took time.Duration, waits []time.Duration, err error) {
	quiet, stop := context.WithCancel(ctx)
	var asking sync.WaitGroup
	asking.Go(func() { waits = s.ask(quiet) })
	g, running := errgroup.WithContext(ctx)
	begin := time.Now()
	for range parallel {
		c := s.client()
		defer c.CloseIdleConnections()
		g.Go(func() error {
			for range perParallel {
				if _, err := s.discard(running, c, pods); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = g.Wait()
	took = time.Since(begin)
	stop()
	asking.Wait()
	return took, waits, err
}

// ask asks for something small again and again and gives the latencies, counted
// from when each request was due.
func (s *server) ask(ctx context.Context) (all []time.Duration) {
	c := s.client()
	defer c.CloseIdleConnections()
	tick := time.NewTicker(otherEvery)
	defer tick.Stop()
	for {
		select {
		case due := <-tick.C:
			if _, err := s.do(ctx, c, request{path: "/readyz"}); err != nil {
				return all // the storm is over
			}
			all = append(all, time.Since(due))
		case <-ctx.Done():
			return all
		}
	}
}
