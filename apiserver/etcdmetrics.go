package apiserver

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/store"
)

// timedBackend times what the store asks of etcd.
type timedBackend struct {
	store.Backend
	now      func() time.Time
	resource func(key string) (schema.GroupResource, bool)
	duration *prometheus.HistogramVec
	total    *prometheus.CounterVec
	failed   *prometheus.CounterVec
}

func newTimedBackend(b store.Backend, resource func(key string) (schema.GroupResource, bool), now func() time.Time) *timedBackend {
	labels := []string{"operation", "group", "resource"}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &timedBackend{
		Backend: b, now: now, resource: resource, total: counter("etcd_requests_total", "Requests to etcd."), failed: counter("etcd_request_errors_total", "Requests to etcd that failed."),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "etcd_request_duration_seconds", Help: "How long etcd took.",
			Buckets: []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}}, labels),
	}
}

// resourcesByKey tells which resource a key below /registry/ belongs to, its
// prefix being the longest one that fits.
func resourcesByKey(fixed []store.Resource) func(key string) (schema.GroupResource, bool) {
	byPrefix := make(map[string]schema.GroupResource, len(fixed))
	for _, r := range fixed {
		byPrefix[r.Prefix] = r.Resource
	}
	return func(key string) (schema.GroupResource, bool) {
		for at := len(key); ; {
			if at = strings.LastIndexByte(key[:at], '/'); at < len("/registry") {
				break
			}
			if r, ok := byPrefix[key[:at+1]]; ok {
				return r, true
			}
		}
		return customKey(key)
	}
}

// customKey tells the resource of a custom resource's key,
// /registry/GROUP/PLURAL/…: a group that is no built-in one has a dot.
func customKey(key string) (schema.GroupResource, bool) {
	parts := strings.SplitN(key, "/", 5)
	if len(parts) < 5 || !strings.Contains(parts[2], ".") {
		return schema.GroupResource{}, false
	}
	return schema.GroupResource{Group: parts[2], Resource: parts[3]}, true
}

// timed is the end of a request that began.
func (b *timedBackend) timed(begun time.Time, operation, key string, err error) {
	resource, _ := b.resource(key)
	labels := [...]string{operation, resource.Group, resource.Resource}
	b.duration.WithLabelValues(labels[:]...).Observe(b.now().Sub(begun).Seconds())
	b.total.WithLabelValues(labels[:]...).Inc()
	if err != nil {
		b.failed.WithLabelValues(labels[:]...).Inc()
	}
}

// Txn is counted as what it does to the object that it is about, which comes
// first; what is not about objects is a txn.
func (b *timedBackend) Txn(ctx context.Context, r store.Request) (answer store.Response, err error) {
	begun := b.now()
	defer func() {
		operation, key := operationOf(&r)
		b.timed(begun, operation, key, err)
	}()
	return b.Backend.Txn(ctx, r)
}

func operationOf(r *store.Request) (operation, key string) {
	for i := range r.Ops {
		op := &r.Ops[i]
		if !strings.HasPrefix(op.Key, "/registry/") {
			continue
		}
		if op.Delete {
			return "delete", op.Key
		}
		check := op.If
		for j := range r.Checks {
			if check == nil && r.Checks[j].Key == op.Key {
				check = &r.Checks[j]
			}
		}
		if check != nil && check.Value == nil && check.Revision == 0 {
			return "create", op.Key
		}
		return "update", op.Key
	}
	return "txn", ""
}

func (b *timedBackend) Range(ctx context.Context, start, end string, revision int64, limit int) (answer store.RangeResult, err error) {
	begun := b.now()
	defer func() { b.timed(begun, "list", start, err) }()
	return b.Backend.Range(ctx, start, end, revision, limit)
}

func (b *timedBackend) Revision(ctx context.Context) (revision int64, err error) {
	begun := b.now()
	defer func() { b.timed(begun, "get", "", err) }()
	return b.Backend.Revision(ctx)
}

func (b *timedBackend) History(ctx context.Context, start, end string, from, to int64, limit int) (past []store.Past, err error) {
	begun := b.now()
	defer func() { b.timed(begun, "history", start, err) }()
	return b.Backend.History(ctx, start, end, from, to, limit)
}

var sizeDesc = prometheus.NewDesc("apiserver_storage_size_bytes", "Bytes of the storage's file.", []string{"storage_cluster_id"}, nil)

// sized asks for the storage's size when it is asked itself.
type sized struct{ store.Backend }

// sizePatience is how long a scrape waits for the size.
const sizePatience = time.Second

func (s sized) Describe(out chan<- *prometheus.Desc) { out <- sizeDesc }

func (s sized) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), sizePatience) // a collector is given none
	defer cancel()
	if usage, err := s.Usage(ctx); err == nil {
		out <- prometheus.MustNewConstMetric(sizeDesc, prometheus.GaugeValue, float64(usage.Size), "etcd-0")
	}
}

func (b *timedBackend) collectors() []prometheus.Collector {
	return []prometheus.Collector{b.duration, b.total, b.failed, sized{b.Backend}}
}
