package fairness

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are what one schema's requests have come to. They outlive changes of
// the objects.
type counts struct {
	dispatched, executing, seats, waiting atomic.Int64
	full, limit, timeout, cancelled       atomic.Int64
	waited                                prometheus.Histogram
}

const metricPrefix = "apiserver_flowcontrol_"

func newCounts(schema, level string) *counts {
	return &counts{waited: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: metricPrefix + "request_wait_duration_seconds", Help: "How long requests waited in their queue.",
		ConstLabels: prometheus.Labels{"flow_schema": schema, "priority_level": level, "execute": "true"},
		Buckets:     []float64{0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30},
	})}
}

func (c *counts) begin(width int, waited time.Duration) {
	c.dispatched.Add(1)
	c.executing.Add(1)
	c.seats.Add(int64(width))
	if waited > 0 {
		c.waited.Observe(waited.Seconds())
	}
}

func (c *counts) end(width int) {
	c.executing.Add(-1)
	c.seats.Add(int64(-width))
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+name, help, labels, nil)
}

var (
	dispatchedDesc = describe("dispatched_requests_total", "Requests that were let in.", "flow_schema", "priority_level")
	rejectedDesc   = describe("rejected_requests_total", "Requests that were refused.", "flow_schema", "priority_level", "reason")
	executingDesc  = describe("current_executing_requests", "Requests that are served now.", "flow_schema", "priority_level")
	seatsDesc      = describe("current_executing_seats", "Seats that are in use now.", "flow_schema", "priority_level")
	waitingDesc    = describe("current_inqueue_requests", "Requests that wait now.", "flow_schema", "priority_level")
	nominalDesc    = describe("nominal_limit_seats", "Seats by the level's shares.", "priority_level")
	lowerDesc      = describe("lower_limit_seats", "Seats that the level does not lend.", "priority_level")
	upperDesc      = describe("upper_limit_seats", "Seats that the level may have with borrowed ones.", "priority_level")
	currentDesc    = describe("current_limit_seats", "Seats that the level has now.", "priority_level")
)

var _ prometheus.Collector = (*Fairness)(nil)

// Describe tells Prometheus which metrics there are.
func (f *Fairness) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{dispatchedDesc, rejectedDesc, executingDesc, seatsDesc, waitingDesc, nominalDesc, lowerDesc, upperDesc, currentDesc} {
		out <- d
	}
}

// Collect gives the metrics under Kubernetes' names.
func (f *Fairness) Collect(out chan<- prometheus.Metric) {
	now := f.now.Load()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for _, l := range now.levels {
		gauge(nominalDesc, float64(l.limits.nominal), l.name)
		gauge(lowerDesc, float64(l.limits.least), l.name)
		gauge(upperDesc, float64(l.limits.most), l.name)
		gauge(currentDesc, float64(l.seats()), l.name)
	}
	for _, p := range now.schemas {
		schema, level, c := p.schema.Name, p.level.name, p.counts
		count(dispatchedDesc, c.dispatched.Load(), schema, level)
		for reason, n := range map[string]*atomic.Int64{"queue-full": &c.full, "concurrency-limit": &c.limit, "time-out": &c.timeout, "cancelled": &c.cancelled} {
			if n := n.Load(); n > 0 {
				count(rejectedDesc, n, schema, level, reason)
			}
		}
		gauge(executingDesc, float64(c.executing.Load()), schema, level)
		gauge(seatsDesc, float64(c.seats.Load()), schema, level)
		gauge(waitingDesc, float64(c.waiting.Load()), schema, level)
		out <- c.waited
	}
}
