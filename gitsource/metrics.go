package gitsource

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what the engine counts, by source. They outlive an Engine, and
// are safe for concurrent use.
type Metrics struct {
	duration *prometheus.HistogramVec
	failures *prometheus.CounterVec
	contact  *prometheus.GaugeVec
	calls    *prometheus.CounterVec
	notices  *prometheus.CounterVec
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics makes Metrics for a registry.
func NewMetrics() *Metrics {
	label := []string{"source"}
	return &Metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "headway_gitsource_fetch_duration_seconds", Help: "How long fetches took, failed ones included.",
			Buckets: []float64{0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 300},
		}, label),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headway_gitsource_fetch_failures_total", Help: "Fetches that failed.",
		}, label),
		contact: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "headway_gitsource_last_contact_timestamp_seconds", Help: "When the newest fetch succeeded, in seconds since 1970.",
		}, label),
		notices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headway_gitsource_notifications_total", Help: "Notifications, by what became of them: sent, failed or dropped.",
		}, []string{"result"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headway_gitsource_webhook_calls_total", Help: "Calls of webhooks, by what became of them.",
		}, []string{"result"}),
	}
}

func (m *Metrics) vectors() []prometheus.Collector {
	return []prometheus.Collector{m.duration, m.failures, m.contact, m.calls, m.notices}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, v := range m.vectors() {
		v.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	for _, v := range m.vectors() {
		v.Collect(out)
	}
}

func (m *Metrics) notified(result string) { m.notices.WithLabelValues(result).Inc() }

// Called counts a call of a webhook.
func (m *Metrics) Called(result string) { m.calls.WithLabelValues(result).Inc() }

func (m *Metrics) fetched(source string, now time.Time, took time.Duration, err error) {
	m.duration.WithLabelValues(source).Observe(took.Seconds())
	failures := m.failures.WithLabelValues(source) // there from the first fetch on, so that it can be watched
	if err != nil {
		failures.Inc()
		return
	}
	m.contact.WithLabelValues(source).Set(float64(now.UnixMilli()) / 1000)
}

// forget drops what is known of a source that was deleted.
func (m *Metrics) forget(source string) {
	m.duration.DeleteLabelValues(source)
	m.failures.DeleteLabelValues(source)
	m.contact.DeleteLabelValues(source)
}
