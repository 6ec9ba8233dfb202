package apiserver

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"github.com/headway-sh/headway/apiserver/audit"
	"github.com/headway-sh/headway/apiserver/fairness"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/apiserver/store"
)

// requestMetrics counts requests under Kubernetes' names, and hands each on to
// the audit.
type requestMetrics struct {
	auditor
	known    func(schema.GroupVersionResource) bool
	now      func() time.Time
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	*flowMetrics
}

func newRequestMetrics(a auditor, known func(schema.GroupVersionResource) bool, now func() time.Time) *requestMetrics {
	labels := []string{"verb", "group", "version", "resource", "subresource", "scope"}
	return &requestMetrics{
		auditor: a, known: known, now: now, flowMetrics: newFlowMetrics(labels),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_request_total", Help: "Requests that were answered, by code."}, append(slices.Clone(labels), "code")),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_request_duration_seconds", Help: "How long answers took, but for watches and other streams.",
			Buckets: []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}}, labels),
	}
}

// streams are the subresources that last as long as their client wants.
var streams = []string{"log", "exec", "attach", "portforward", "proxy"}

// verbs are those that are counted under their own name: a client can send any.
var verbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "post", "put", "head", "options"}

// Audit counts what is complete, and the streams that are not.
func (m *requestMetrics) Audit(ctx context.Context, r rest.Record) {
	m.auditor.Audit(ctx, r)
	switch {
	case r.Stage == auditinternal.StageResponseStarted, r.Stage == auditinternal.StageRequestReceived && !r.Long:
		return
	case r.Stage == auditinternal.StageRequestReceived:
		m.streams.WithLabelValues(m.labels(r.Info)...).Inc()
		return
	}
	labels := m.labels(r.Info)
	if r.Long && r.Announced {
		m.streams.WithLabelValues(labels...).Dec()
	}
	// Who gets a 429 without having been authorized was not let in.
	if r.Code == http.StatusGatewayTimeout || r.Code == http.StatusTooManyRequests && r.Decision == "" {
		m.terminated.WithLabelValues(append(labels, strconv.Itoa(r.Code))...).Inc()
	}
	m.total.WithLabelValues(append(labels, strconv.Itoa(r.Code))...).Inc()
	if r.Info.Verb != "watch" && !slices.Contains(streams, r.Info.Subresource) {
		m.duration.WithLabelValues(labels...).Observe(m.now().Sub(r.Received).Seconds())
	}
}

// labels never take a name from the client that is not one of the API's.
func (m *requestMetrics) labels(info *rest.RequestInfo) []string {
	verb := "other"
	if slices.Contains(verbs, info.Verb) {
		verb = info.Verb
	}
	labels := append(make([]string, 0, 7), verb, "", "", "", "", "")
	if !info.IsResource || !m.known(schema.GroupVersionResource{Group: info.Group, Version: info.Version, Resource: info.Resource}) {
		return labels
	}
	labels[1], labels[2], labels[3] = info.Group, info.Version, info.Resource
	if slices.Contains([]string{"status", "scale", "binding", "eviction", "token", "approval", "finalize", "resize", "ephemeralcontainers"}, info.Subresource) || slices.Contains(streams, info.Subresource) {
		labels[4] = info.Subresource
	}
	switch {
	case info.Name != "":
		labels[5] = "resource"
	case info.Namespace != "":
		labels[5] = "namespace"
	default:
		labels[5] = "cluster"
	}
	return labels
}

var (
	objectsDesc = prometheus.NewDesc("apiserver_resource_objects", "How many objects are stored.", []string{"group", "resource"}, nil)
	storageDesc = prometheus.NewDesc("apiserver_storage_objects", "How many objects are stored, by resource and group.", []string{"resource"}, nil)
	eventsDesc  = prometheus.NewDesc("apiserver_audit_event_total", "Audit events that were written.", nil, nil)
	lostDesc    = prometheus.NewDesc("apiserver_audit_error_total", "Audit events that were lost.", []string{"plugin"}, nil)
)

// stored tells how many objects there are, and about the audit log, when it is
// asked.
type stored struct {
	store *store.Store
	audit *audit.Log
}

func (s stored) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{objectsDesc, storageDesc, eventsDesc, lostDesc} {
		out <- d
	}
}

func (s stored) Collect(out chan<- prometheus.Metric) {
	snapshot := s.store.Snapshot()
	for _, resource := range s.store.Resources() {
		n := float64(snapshot.Count(resource))
		out <- prometheus.MustNewConstMetric(objectsDesc, prometheus.GaugeValue, n, resource.Group, resource.Resource)
		out <- prometheus.MustNewConstMetric(storageDesc, prometheus.GaugeValue, n, resource.String())
	}
	out <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(s.audit.Written()))
	out <- prometheus.MustNewConstMetric(lostDesc, prometheus.CounterValue, float64(s.audit.Dropped()), "log")
}

// metricsHandler serves what the server counts, and what others have gathered.
func metricsHandler(requests *requestMetrics, turns *fairness.Fairness, s *store.Store, log *audit.Log, gathered []prometheus.Gatherer, more ...prometheus.Collector) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	for _, c := range slices.Concat([]prometheus.Collector{requests.total, requests.duration, turns, stored{s, log},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo()}, requests.collectors(), more) {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return promhttp.HandlerFor(append(prometheus.Gatherers{registry}, gathered...), promhttp.HandlerOpts{}), nil
}
