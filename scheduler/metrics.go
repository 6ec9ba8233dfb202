package scheduler

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headway-sh/headway/scheduler/queue"
)

// Metrics are what a scheduler counts, with the names and labels of Kubernetes'
// scheduler. They outlive a Scheduler, and are safe for concurrent use; a nil
// *Metrics counts nothing.
type Metrics struct {
	attempts    *prometheus.CounterVec
	took        *prometheus.HistogramVec
	preemptions prometheus.Counter
	victims     prometheus.Histogram
	pending     *prometheus.Desc

	active, backoff, unschedulable atomic.Int64
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics makes Metrics for a registry.
func NewMetrics() *Metrics {
	return &Metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "scheduler_schedule_attempts_total", Help: "Attempts to give a pod a node: scheduled, unschedulable, or error (a bind was lost or a plug-in refused).",
		}, []string{"profile", "result"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "scheduler_pod_scheduling_sli_duration_seconds", Help: "How long pods waited from when they could be scheduled until they were bound, by attempts (16: so many or more).",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 12),
		}, []string{"attempts"}),
		preemptions: prometheus.NewCounter(prometheus.CounterOpts{Name: "scheduler_preemption_attempts_total", Help: "Preemptions that were begun."}),
		victims: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "scheduler_preemption_victims", Help: "How many pods had to make way in a preemption.", Buckets: prometheus.ExponentialBuckets(1, 2, 7),
		}),
		pending: prometheus.NewDesc("scheduler_pending_pods", "Pods that wait: active to be decided about, backoff after a failure, unschedulable for a change that helps.", []string{"queue"}, nil),
	}
}

// Describe is a prometheus.Collector's.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	m.attempts.Describe(ch)
	m.took.Describe(ch)
	m.preemptions.Describe(ch)
	m.victims.Describe(ch)
	ch <- m.pending
}

// Collect is a prometheus.Collector's.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.attempts.Collect(ch)
	m.took.Collect(ch)
	m.preemptions.Collect(ch)
	m.victims.Collect(ch)
	for name, n := range map[string]*atomic.Int64{"active": &m.active, "backoff": &m.backoff, "unschedulable": &m.unschedulable} {
		ch <- prometheus.MustNewConstMetric(m.pending, prometheus.GaugeValue, float64(n.Load()), name)
	}
}

func (m *Metrics) attempt(profile, result string) {
	if m != nil {
		m.attempts.WithLabelValues(profile, result).Inc()
	}
}

// mostAttempts keeps the number of series small.
const mostAttempts = 16

func (m *Metrics) scheduled(profile string, item *queue.Item, now time.Time) {
	if m == nil {
		return
	}
	m.attempt(profile, "scheduled")
	if item != nil {
		m.took.WithLabelValues(strconv.Itoa(min(item.Attempts+1, mostAttempts))).Observe(now.Sub(item.Added).Seconds())
	}
}

func (m *Metrics) preempted(victims int) {
	if m != nil {
		m.preemptions.Inc()
		m.victims.Observe(float64(victims))
	}
}

func (m *Metrics) waiting(q *queue.Queue) {
	if m == nil {
		return
	}
	active, backoff, parked := q.Waiting()
	m.active.Store(int64(active))
	m.backoff.Store(int64(backoff))
	m.unschedulable.Store(int64(parked))
}
