package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/headway-sh/headway/test/bench/figure"
)

const starts = 5

// measureStart times exec → /readyz: with nothing there, and again on what the
// first start has left, its containerd running.
func measureStart(ctx context.Context, b *bench) error {
	var fresh, existing, work []time.Duration
	for i := range starts {
		c := newCluster(b, filepath.Join(b.dir, fmt.Sprintf("s%d", i)))
		for _, all := range []*[]time.Duration{&fresh, &existing} {
			begin := time.Now()
			if err := c.exec(); err != nil {
				return err
			}
			at, err := c.ready(ctx)
			if err != nil {
				return err
			}
			*all = append(*all, at.Sub(begin))
			if all == &fresh {
				used, err := figure.CPUTime(c.cmd.Process.Pid)
				if err != nil {
					return err
				}
				work = append(work, used)
			}
			// Let the node come up, so that the next start finds what a
			// restart finds.
			if err := c.settled(ctx); err != nil {
				return err
			}
			if err := c.end(); err != nil {
				return fmt.Errorf("end the server: %w; see %s.log", err, c.dir)
			}
		}
	}
	b.report.Times("exec → /readyz, fresh data directory", fresh, "Kubernetes 1.36: 2.7–3.1 s", "≤ 1 s")
	b.report.Times("  CPU time until then", work, "", "")
	b.report.Times("exec → /readyz, existing data directory", existing, "", "")
	return nil
}
