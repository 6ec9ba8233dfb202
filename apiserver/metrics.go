package apiserver

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/headway-sh/headway/apiserver/audit"
	"github.com/headway-sh/headway/apiserver/fairness"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/apiserver/store"
)

// requestMetrics counts requests under Kubernetes' names, and hands each on to
// the audit.
type requestMetrics struct {
	auditor
	known      func(schema.GroupVersionResource) bool
	now        func() time.Time
	total      *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	own        *prometheus.HistogramVec
	answers    *prometheus.HistogramVec
	deprecated *prometheus.GaugeVec
	*flowMetrics
}

// common are the labels that all metrics of requests have, in the order of
// requestMetrics.labels.
var common = []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}

func newRequestMetrics(a auditor, known func(schema.GroupVersionResource) bool, now func() time.Time) *requestMetrics {
	with := func(more ...string) []string { return append(slices.Clone(common), more...) }
	return &requestMetrics{
		auditor: a, known: known, now: now, flowMetrics: newFlowMetrics(),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_request_total", Help: "Requests that were answered, by code."}, with("dry_run", "code")),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_request_duration_seconds", Help: "How long answers took, but for watches and other streams.",
			Buckets: []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}}, with("dry_run")),
		own: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_request_sli_duration_seconds", Help: "How long answers took, without the time in queues and with webhooks.",
			Buckets: []float64{0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}}, common),
		answers: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_response_sizes", Help: "Bytes of answers to reads.",
			Buckets: prometheus.ExponentialBuckets(1000, 10, 7)}, common),
		deprecated: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "apiserver_requested_deprecated_apis", Help: "Deprecated APIs that were asked for, since the start."}, []string{"group", "version", "resource", "subresource", "removed_release"}),
	}
}

// streams are the subresources that last as long as their client wants.
var streams = []string{"log", "exec", "attach", "portforward", "proxy"}

// verbs are what verbs are counted as; others, for a client can send any, are
// "other".
var verbs = map[string]string{"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE",
	"deletecollection": "DELETECOLLECTION", "post": "POST", "put": "PUT", "head": "HEAD", "options": "OPTIONS"}

// Audit counts what is complete, and the streams that are not.
func (m *requestMetrics) Audit(ctx context.Context, r rest.Record) {
	m.auditor.Audit(ctx, r)
	switch {
	case r.Stage == auditinternal.StageResponseStarted, r.Stage == auditinternal.StageRequestReceived && !r.Long:
		return
	case r.Stage == auditinternal.StageRequestReceived:
		m.streams.WithLabelValues(m.labels(&r)...).Inc()
		return
	}
	labels, code := m.labels(&r), strconv.Itoa(r.Code)
	if r.Long && r.Announced {
		m.streams.WithLabelValues(labels...).Dec()
	}
	// Who gets a 429 without having been authorized was not let in.
	if r.Code == http.StatusGatewayTimeout || r.Code == http.StatusTooManyRequests && r.Decision == "" {
		m.terminated.WithLabelValues(append(labels, code)...).Inc()
	}
	dry := ""
	if r.Request.Method != http.MethodGet && strings.Contains(r.Request.URL.RawQuery, "dryRun=All") {
		dry = "All"
	}
	m.total.WithLabelValues(append(labels, dry, code)...).Inc()
	if r.Deprecated {
		m.deprecated.WithLabelValues(labels[1], labels[2], labels[3], labels[4], "").Set(1)
	}
	if r.Info.Verb == "watch" || slices.Contains(streams, r.Info.Subresource) {
		return
	}
	took := m.now().Sub(r.Received)
	m.duration.WithLabelValues(append(labels, dry)...).Observe(took.Seconds())
	m.own.WithLabelValues(labels...).Observe((took - r.Waited - r.Outside).Seconds())
	if r.Info.Verb == "get" || r.Info.Verb == "list" {
		m.answers.WithLabelValues(labels...).Observe(float64(r.Size))
	}
}

// labels never take a name from the client that is not one of the API's.
func (m *requestMetrics) labels(r *rest.Record) []string {
	info, verb := r.Info, "other"
	if known, ok := verbs[info.Verb]; ok {
		verb = known
	}
	switch info.Subresource {
	case "exec", "attach", "portforward", "proxy":
		verb = "CONNECT"
	}
	if verb == "PATCH" && strings.HasPrefix(r.Request.Header.Get("Content-Type"), "application/apply-patch+") {
		verb = "APPLY"
	}
	labels := append(make([]string, 0, len(common)+2), verb, "", "", "", "", "", "apiserver")
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
	changesDesc = prometheus.NewDesc("apiserver_storage_events_received_total", "Changes that came from the storage.", []string{"group", "resource"}, nil)
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
	for _, d := range []*prometheus.Desc{objectsDesc, storageDesc, changesDesc, eventsDesc, lostDesc} {
		out <- d
	}
}

func (s stored) Collect(out chan<- prometheus.Metric) {
	snapshot := s.store.Snapshot()
	for _, resource := range s.store.Resources() {
		n := float64(snapshot.Count(resource))
		out <- prometheus.MustNewConstMetric(objectsDesc, prometheus.GaugeValue, n, resource.Group, resource.Resource)
		out <- prometheus.MustNewConstMetric(storageDesc, prometheus.GaugeValue, n, resource.String())
		out <- prometheus.MustNewConstMetric(changesDesc, prometheus.CounterValue, float64(snapshot.Received(resource)), resource.Group, resource.Resource)
	}
	out <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(s.audit.Written()))
	out <- prometheus.MustNewConstMetric(lostDesc, prometheus.CounterValue, float64(s.audit.Dropped()), "log")
}

// metricsHandler serves what the server counts, and what others have gathered.
func metricsHandler(requests *requestMetrics, turns *fairness.Fairness, s *store.Store, log *audit.Log, gathered []prometheus.Gatherer, more ...prometheus.Collector) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	for _, c := range slices.Concat([]prometheus.Collector{requests.total, requests.duration, requests.own, requests.answers, requests.deprecated, turns, stored{s, log},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo()}, requests.collectors(), more) {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return promhttp.HandlerFor(append(prometheus.Gatherers{registry, borrowed}, gathered...), promhttp.HandlerOpts{}), nil
}

// borrowed are the metrics that the libraries which evaluate expressions keep
// themselves, under Kubernetes' names.
var borrowed = prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
	all, err := legacyregistry.DefaultGatherer.Gather()
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "apiserver_cel_") }), err
})
