package apiserver

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headway-sh/headway/apiserver/store"
)

// timedBackend times what the store asks of etcd. A transaction can be about
// several resources, so that none is named.
type timedBackend struct {
	store.Backend
	now                       func() time.Time
	duration                  *prometheus.HistogramVec
	transact, list, get, past prometheus.Observer
}

func newTimedBackend(b store.Backend, now func() time.Time) *timedBackend {
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "etcd_request_duration_seconds", Help: "How long etcd took, by operation.",
		Buckets: []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}}, []string{"operation", "group", "resource"})
	of := func(operation string) prometheus.Observer { return duration.WithLabelValues(operation, "", "") }
	return &timedBackend{Backend: b, now: now, duration: duration, transact: of("txn"), list: of("list"), get: of("get"), past: of("history")}
}

func (b *timedBackend) since(begun time.Time, o prometheus.Observer) {
	o.Observe(b.now().Sub(begun).Seconds())
}

func (b *timedBackend) Txn(ctx context.Context, r store.Request) (store.Response, error) {
	defer b.since(b.now(), b.transact)
	return b.Backend.Txn(ctx, r)
}

func (b *timedBackend) Range(ctx context.Context, start, end string, revision int64, limit int) (store.RangeResult, error) {
	defer b.since(b.now(), b.list)
	return b.Backend.Range(ctx, start, end, revision, limit)
}

func (b *timedBackend) Revision(ctx context.Context) (int64, error) {
	defer b.since(b.now(), b.get)
	return b.Backend.Revision(ctx)
}

func (b *timedBackend) History(ctx context.Context, start, end string, from, to int64, limit int) ([]store.Past, error) {
	defer b.since(b.now(), b.past)
	return b.Backend.History(ctx, start, end, from, to, limit)
}
