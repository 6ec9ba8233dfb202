package main

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/headway-sh/headway/reconciler"
	"github.com/headway-sh/headway/reconciler/nodelife"
)

// controllerOptions say how the controllers run.
type controllerOptions struct {
	names                 []string
	workers               map[string]int
	firstRetry, lastRetry time.Duration
	eviction              nodelife.Eviction
}

func (o *controllerOptions) flags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.names, "controllers", nil, `controllers to run, by name; "*" stands for all and "-name" takes one out (default: all)`)
	f.StringToIntVar(&o.workers, "controller-workers", nil, "how many objects a controller looks after at a time, as in deployment=10,job=20 (default: 2 to 10)")
	f.DurationVar(&o.firstRetry, "controller-retry-min", 0, "first wait of what a controller has failed at; it doubles with each failure (default: 5ms)")
	f.DurationVar(&o.lastRetry, "controller-retry-max", 0, "longest wait of what a controller has failed at (default: 1m)")
	f.Float64Var(&o.eviction.Rate, "node-eviction-rate", 0, "how many lost nodes of a zone begin to evict their pods a second (default: 0.1)")
	f.Float64Var(&o.eviction.SecondaryRate, "secondary-node-eviction-rate", 0, "that of large zones that are down for a large part; in small ones nobody is evicted then (default: 0.01)")
	f.Float64Var(&o.eviction.UnhealthyZone, "unhealthy-zone-threshold", 0, "part of the nodes of a zone, more than two, from which on it is down for a large part (default: 0.55)")
	f.IntVar(&o.eviction.LargeZone, "large-cluster-size-threshold", 0, "how many nodes a large zone has more than (default: 50)")
}

// config has what the options say, and nothing else.
func (o *controllerOptions) config() reconciler.Config {
	return reconciler.Config{Controllers: o.names, Workers: o.workers, FirstRetry: o.firstRetry, LastRetry: o.lastRetry, Eviction: o.eviction}
}
