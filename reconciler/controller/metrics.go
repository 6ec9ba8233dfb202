package controller

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"
)

// Metrics are what controllers count, by their names, as Kubernetes' controller
// manager calls it. They outlive the controllers, and are safe for concurrent
// use; a nil *Metrics counts nothing.
type Metrics struct {
	passes  *prometheus.CounterVec
	took    *prometheus.HistogramVec
	retries *prometheus.CounterVec
	depth   *prometheus.Desc

	mu     sync.Mutex // guards queues
	queues map[string]func() int
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics makes Metrics for a registry.
func NewMetrics() *Metrics {
	label := []string{"name"}
	return &Metrics{
		passes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headway_controller_passes_total", Help: "Passes of controllers over an object, by how they ended: done, again (asked to be called again), conflict or error.",
		}, []string{"name", "result"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "workqueue_work_duration_seconds", Help: "How long a pass over an object took.", Buckets: prometheus.ExponentialBuckets(1e-5, 10, 8),
		}, label),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workqueue_retries_total", Help: "Objects that wait for another try after a failure, each time they do.",
		}, label),
		depth:  prometheus.NewDesc("workqueue_depth", "How many objects wait for a pass.", label, nil),
		queues: map[string]func() int{},
	}
}

// Describe is a prometheus.Collector's.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	m.passes.Describe(ch)
	m.took.Describe(ch)
	m.retries.Describe(ch)
	ch <- m.depth
}

// Collect is a prometheus.Collector's.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.passes.Collect(ch)
	m.took.Collect(ch)
	m.retries.Collect(ch)
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, length := range m.queues {
		ch <- prometheus.MustNewConstMetric(m.depth, prometheus.GaugeValue, float64(length()), name)
	}
}

// observed is the part of Metrics that one controller counts in.
type observed struct {
	took                          prometheus.Observer
	done, again, conflict, failed prometheus.Counter
	retries                       prometheus.Counter
}

func (m *Metrics) of(name string) *observed {
	if m == nil {
		return nil
	}
	result := func(r string) prometheus.Counter { return m.passes.WithLabelValues(name, r) }
	return &observed{m.took.WithLabelValues(name), result("done"), result("again"), result("conflict"), result("error"), m.retries.WithLabelValues(name)}
}

// follow reads the length of a controller's queue; the last one of a name counts.
func (m *Metrics) follow(name string, length func() int) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queues[name] = length
}

func (o *observed) pass(result func(*observed) prometheus.Counter, took time.Duration) {
	if o == nil {
		return
	}
	o.took.Observe(took.Seconds())
	result(o).Inc()
}

// counted is a queue that counts retries.
type counted[R comparable] struct {
	workqueue.TypedRateLimitingInterface[R]
	o *observed
}

func (q counted[R]) AddRateLimited(r R) {
	if q.o != nil {
		q.o.retries.Inc()
	}
	q.TypedRateLimitingInterface.AddRateLimited(r)
}
