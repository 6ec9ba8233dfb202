// Package controller is the thin shell that every controller of the room runs
// in: controller-runtime's unmanaged controller with our clock, logger and
// cache. A controller is a reconciler (level-triggered: read all, compute,
// write) and the sources that tell it where to look.
//
//	source (cache event) ──▶ queue of requests ──▶ Reconcile ──▶ writes as the controller's identity
//
// Reads go through the client of the controller, which reads its own writes;
// the cache only says what has changed. So no controller keeps expectations.
package controller

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/bulk"
	"github.com/headway-sh/headway/internal/events"
)

// The wait before a failed request is tried again doubles between these.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = time.Minute
)

// Deps is what a controller is made of.
type Deps struct {
	// Client writes as the controller's own identity and reads its own writes.
	Client client.Client
	// Txn writes several objects at once, as the same identity; nil: nobody does.
	Txn txn.Interface
	// Cache tells about changes; its objects are shared and never changed.
	Cache  cache.Cache
	Clock  clock.WithTicker
	Logger *slog.Logger
	Events events.Recorder
	// Tuning is what an operator wants otherwise than it is.
	Tuning Tuning
	// Metrics count; nil: nobody does.
	Metrics *Metrics
}

// Bulk creates many objects at once.
func (d Deps) Bulk() bulk.Writer { return bulk.Writer{Client: d.Client, DB: d.Txn} }

// Tuning is how a controller works; what is 0 is as it was.
type Tuning struct {
	// Workers is how many objects are looked after at a time. Controllers that
	// have one worker have it for a reason, and keep it.
	Workers int
	// FirstRetry and LastRetry bound the wait of what has failed; it doubles.
	FirstRetry, LastRetry time.Duration
}

// Runnable is a controller that is ready to run. Start blocks until ctx ends
// and waits for its workers.
type Runnable interface {
	Start(ctx context.Context) error
}

// Watching is a Runnable that can be given further sources while it runs.
type Watching[R comparable] interface {
	Runnable
	// Watch adds a source; before Start it is kept until then.
	Watch(source source.TypedSource[R]) error
}

// New puts a reconciler and its sources together. R is the request type: the
// key that is never reconciled by two workers at once.
func New[R comparable](name string, deps Deps, workers int, r reconcile.TypedReconciler[R], sources ...source.TypedSource[R]) (Watching[R], error) {
	log := deps.Logger.With("controller", name)
	tuning := deps.Tuning
	if workers == 1 && tuning.Workers > 1 {
		return nil, fmt.Errorf("%s has one worker, and cannot have %d", name, tuning.Workers)
	}
	own := deps.Metrics.of(name)
	c, err := ctrl.NewTypedUnmanaged(name, ctrl.TypedOptions[R]{
		SkipNameValidation:      ptr.To(true), // several clusters may run in one process
		MaxConcurrentReconciles: cmp.Or(tuning.Workers, workers),
		Reconciler:              calm[R]{r, own},
		Logger:                  logr.FromSlogHandler(quiet{log.Handler()}),
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[R](cmp.Or(tuning.FirstRetry, firstRetry), cmp.Or(tuning.LastRetry, lastRetry)),
		// The library's own queue ticks twice a second for a metric; an unnamed
		// one sleeps while there is nothing to do, and takes our clock.
		NewQueue: func(_ string, limiter workqueue.TypedRateLimiter[R]) workqueue.TypedRateLimitingInterface[R] {
			q := counted[R]{workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[R]{Clock: deps.Clock}), own}
			deps.Metrics.follow(name, q.Len)
			return q
		},
	})
	if err != nil {
		return nil, err
	}
	for _, s := range sources {
		if err := c.Watch(s); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// calm turns lost races into a quiet retry: they are the normal course of
// compare-and-swap and nobody's error.
type calm[R comparable] struct {
	reconcile.TypedReconciler[R]
	own *observed
}

func (c calm[R]) Reconcile(ctx context.Context, r R) (reconcile.Result, error) {
	began := time.Now()
	result, err := c.TypedReconciler.Reconcile(ctx, r)
	ended := func(o *observed) prometheus.Counter { return o.done }
	switch {
	case apierrors.IsConflict(err):
		result, err = reconcile.Result{RequeueAfter: conflictDelay}, nil
		ended = func(o *observed) prometheus.Counter { return o.conflict }
	case ctx.Err() != nil || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		result, err = reconcile.Result{}, nil // what is to be made would go at once
	case err != nil:
		ended = func(o *observed) prometheus.Counter { return o.failed }
	case result.RequeueAfter > 0:
		ended = func(o *observed) prometheus.Counter { return o.again }
	}
	c.own.pass(ended, time.Since(began))
	return result, err
}

// quiet passes on what the library has to say only from warnings up.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && q.Handler.Enabled(ctx, level)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
