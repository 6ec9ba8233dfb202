package apiserver

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headway-sh/headway/apiserver/rest"
)

// flowMetrics are about what is going on now, and what goes out on watches.
type flowMetrics struct {
	streams     *prometheus.GaugeVec
	terminated  *prometheus.CounterVec
	events      *prometheus.CounterVec
	sizes       *prometheus.HistogramVec
	began       *prometheus.HistogramVec
	health      *prometheus.GaugeVec
	checks      *prometheus.CounterVec
	read, wrote atomic.Int64 // requests that are being answered
}

func newFlowMetrics() *flowMetrics {
	of := []string{"group", "version", "resource"}
	return &flowMetrics{
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "apiserver_longrunning_requests", Help: "Watches and other streams that are open."}, common),
		terminated: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_request_terminations_total",
			Help: "Requests that the server gave up in self-defence: they were not let in, or took too long."}, append(slices.Clone(common), "code")),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_watch_events_total", Help: "Events that were sent to watches."}, of),
		sizes: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_watch_events_sizes", Help: "Bytes of events that were sent to watches.",
			Buckets: prometheus.ExponentialBuckets(1024, 2, 8)}, of),
		health: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubernetes_healthcheck", Help: "What a check of health said last: 1 is healthy."}, []string{"name", "type"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubernetes_healthchecks_total", Help: "Checks of health, by what they said."}, []string{"name", "type", "status"}),
		began: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_watch_list_duration_seconds", Help: "How long the initial events of watches took that had asked for them.",
			Buckets: []float64{0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 15, 20, 30, 45, 60}}, append(slices.Clone(of), "scope")),
	}
}

// inside counts the requests that have been let in.
func (m *flowMetrics) inside(verb string, by int) {
	switch verb {
	case "get", "list", "head", "options":
		m.read.Add(int64(by))
	default:
		m.wrote.Add(int64(by))
	}
}

// watched gives a watch its counters once, so that an event costs no look-up.
func (m *flowMetrics) watched(info *rest.RequestInfo) func(size int) {
	events := m.events.WithLabelValues(info.Group, info.Version, info.Resource)
	sizes := m.sizes.WithLabelValues(info.Group, info.Version, info.Resource)
	return func(size int) {
		events.Inc()
		sizes.Observe(float64(size))
	}
}

// listed times the initial events of a watch.
func (m *flowMetrics) listed(info *rest.RequestInfo, took time.Duration) {
	scope := "cluster"
	if info.Namespace != "" {
		scope = "namespace"
	}
	m.began.WithLabelValues(info.Group, info.Version, info.Resource, scope).Observe(took.Seconds())
}

// checked counts a check of health.
func (m *flowMetrics) checked(endpoint, check string, healthy bool) {
	status, value := "error", 0.
	if healthy {
		status, value = "success", 1
	}
	m.health.WithLabelValues(check, endpoint).Set(value)
	m.checks.WithLabelValues(check, endpoint, status).Inc()
}

func (m *flowMetrics) collectors() []prometheus.Collector {
	kind := func(name string, n *atomic.Int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "apiserver_current_inflight_requests", Help: "Requests that are being answered, streams aside.",
			ConstLabels: prometheus.Labels{"request_kind": name}}, func() float64 { return float64(n.Load()) })
	}
	return []prometheus.Collector{m.streams, m.terminated, m.events, m.sizes, m.began, m.health, m.checks, kind("readOnly", &m.read), kind("mutating", &m.wrote)}
}

// buildInfo tells which version of Kubernetes this stands in for.
func buildInfo() prometheus.Collector {
	v := rest.Version()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kubernetes_build_info", Help: "What /version answers; always 1.", ConstLabels: prometheus.Labels{
		"major": v.Major, "minor": v.Minor, "git_version": v.GitVersion, "git_commit": v.GitCommit, "git_tree_state": v.GitTreeState, "build_date": v.BuildDate,
		"go_version": v.GoVersion, "compiler": v.Compiler, "platform": v.Platform}}, func() float64 { return 1 })
}
