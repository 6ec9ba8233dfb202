package gitsource

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// Metrics are what the engine counts, by source. They outlive an Engine, and
// are safe for concurrent use.
type Metrics struct {
	duration *prometheus.HistogramVec
	failures *prometheus.CounterVec
	contact  *prometheus.GaugeVec
	calls    *prometheus.CounterVec
	forged   *prometheus.CounterVec
	forging  *prometheus.HistogramVec
	notices  *prometheus.CounterVec
	phases   *prometheus.CounterVec
	took     *prometheus.HistogramVec
	drifts   *prometheus.CounterVec
	state    *prometheus.GaugeVec
	objects  *prometheus.GaugeVec
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
		phases: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headway_gitsource_commits_total", Help: "Commits by the phases of their releases, each counted when it was reached.",
		}, []string{"source", "phase"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "headway_gitsource_commit_duration_seconds", Help: "How long it took from a commit's being seen until it was healthy, or had failed.",
			Buckets: []float64{0.1, 0.5, 1, 5, 15, 60, 300, 900},
		}, label),
		drifts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headway_gitsource_drifts_total", Help: "Writes by others to what git says.",
		}, label),
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "headway_gitsource_state", Help: "1 for each of healthy, suspended and awaiting-approval that a source is, else 0.",
		}, []string{"source", "state"}),
		objects: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "headway_gitsource_objects", Help: "Objects in the cluster that are a source's.",
		}, label),
		forged: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headway_forge_requests_total", Help: "Calls of forges by their hosts and the status of the answer; 0: there was none.",
		}, []string{"forge", "code"}),
		forging: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "headway_forge_request_duration_seconds", Help: "How long calls of forges took, failed ones included.",
			Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10},
		}, []string{"forge"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headway_gitsource_webhook_calls_total", Help: "Calls of webhooks, by what became of them.",
		}, []string{"result"}),
	}
}

func (m *Metrics) vectors() []prometheus.Collector {
	return []prometheus.Collector{m.duration, m.failures, m.contact, m.calls, m.forged, m.forging, m.notices, m.phases, m.took, m.drifts, m.state, m.objects}
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

// forgeCalled counts a call of a forge.
func (m *Metrics) forgeCalled(host string, status int, took time.Duration) {
	m.forged.WithLabelValues(host, strconv.Itoa(status)).Inc()
	m.forging.WithLabelValues(host).Observe(took.Seconds())
}

func (m *Metrics) fetched(source string, now time.Time, took time.Duration, err error) {
	m.duration.WithLabelValues(source).Observe(took.Seconds())
	failures := m.failures.WithLabelValues(source) // there from the first fetch on, so that it can be watched
	if err != nil {
		failures.Inc()
		return
	}
	m.contact.WithLabelValues(source).Set(float64(now.UnixMilli()) / 1000)
}

// reached counts a phase of a release.
func (m *Metrics) reached(source string, r *v1alpha1.Release) {
	m.phases.WithLabelValues(source, string(r.Status.Phase)).Inc()
	if st := &r.Status; st.ObservedTime != nil && st.FinishedTime != nil && (st.Phase == v1alpha1.ReleaseHealthy || st.Phase == v1alpha1.ReleaseFailed || st.Phase == v1alpha1.ReleaseRolledBack) {
		m.took.WithLabelValues(source).Observe(st.FinishedTime.Sub(st.ObservedTime.Time).Seconds())
	}
}

func (m *Metrics) drifted(source string) { m.drifts.WithLabelValues(source).Inc() }

// is notes how a source is now.
func (m *Metrics) is(source string, objects int, healthy, suspended, awaiting bool) {
	m.objects.WithLabelValues(source).Set(float64(objects))
	for state, is := range map[string]bool{"healthy": healthy, "suspended": suspended, "awaiting-approval": awaiting} {
		value := 0.0
		if is {
			value = 1
		}
		m.state.WithLabelValues(source, state).Set(value)
	}
	m.drifts.WithLabelValues(source).Add(0) // there from the start, so that it can be watched
}

// forget drops what is known of a source that was deleted.
func (m *Metrics) forget(source string) {
	of := prometheus.Labels{"source": source}
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{
		m.duration, m.failures, m.contact, m.phases, m.took, m.drifts, m.state, m.objects,
	} {
		v.DeletePartialMatch(of)
	}
}
