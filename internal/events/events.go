// Package events records what a component did or could not do as core/v1
// Events on the objects concerned. Equal events are counted and floods are
// damped by client-go's correlator.
package events

import (
	"context"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
)

const (
	// waiting is how many events may wait, and together how many of them are
	// written at once.
	waiting  = 4096
	together = 256
)

// Recorder is what components record events with. It never blocks and never
// fails: an event that cannot be written is dropped.
type Recorder = record.EventRecorder

// New returns a recorder that writes through c as the named component until
// ctx ends, and a stop function that waits for the writer. What waits is written
// together through db, as the identity that it belongs to; nil: one by one.
func New(ctx context.Context, component string, c client.Client, db txn.Interface, clk clock.Clock, log *slog.Logger) (Recorder, func()) {
	broadcaster := record.NewBroadcaster()
	correlator := record.NewEventCorrelatorWithOptions(record.CorrelatorOptions{Clock: clk})
	w := &writer{client: c, db: db, correlator: correlator, log: log}
	done := make(chan struct{})
	events := make(chan *corev1.Event, waiting)
	watcher := broadcaster.StartEventWatcher(func(e *corev1.Event) {
		select {
		case events <- e:
		default: // a flood: events are hints, the component's work is not
		}
	})
	go func() {
		defer close(done)
		for {
			select {
			case e := <-events:
				w.write(ctx, append([]*corev1.Event{e}, ready(events)...))
			case <-ctx.Done():
				return
			}
		}
	}()
	return broadcaster.NewRecorder(c.Scheme(), corev1.EventSource{Component: component}), func() {
		watcher.Stop()
		broadcaster.Shutdown()
		<-done
	}
}

// ready takes what waits, as much as one transaction is to have.
func ready(events <-chan *corev1.Event) (all []*corev1.Event) {
	for len(all) < together {
		select {
		case e := <-events:
			all = append(all, e)
		default:
			return all
		}
	}
	return all
}

type writer struct {
	client     client.Client
	db         txn.Interface
	correlator *record.EventCorrelator
	log        *slog.Logger
}

// write writes events in their order, together where that can be.
func (w *writer) write(ctx context.Context, events []*corev1.Event) {
	var results []*record.EventCorrelateResult
	for _, e := range events {
		if result, err := w.correlator.EventCorrelate(e); err == nil && !result.Skip {
			results = append(results, result)
		}
	}
	if w.db != nil && len(results) > 1 {
		results = w.commit(ctx, results)
	}
	for _, result := range results {
		w.one(ctx, result)
	}
}

// commit writes in one transaction, each on its own conditions, and gives back
// what is still to be written.
func (w *writer) commit(ctx context.Context, results []*record.EventCorrelateResult) (left []*record.EventCorrelateResult) {
	changes := make([]txn.Change, len(results))
	for i, result := range results {
		changes[i] = change(result)
	}
	plan, done, err := txn.Run(ctx, w.db, txn.Identity{}, txn.CommitOptions{Independent: true}, func(txn.View) ([]txn.Change, error) { return changes, nil })
	if err != nil {
		return results
	}
	for i, result := range results {
		switch event, ok := done.Objects[i].(*corev1.Event); {
		case ok:
			w.correlator.UpdateState(event)
		case changes[i].Verb == txn.Patch && apierrors.IsNotFound(plan.Outcomes[i].Err), done.Failed[i] != nil && plan.Outcomes[i].Err == nil:
			left = append(left, result) // what it counts on has expired, or somebody was faster
		default:
			w.dropped(ctx, result.Event, plan.Outcomes[i].Err)
		}
	}
	return left
}

// change is what one event asks of the store.
func change(result *record.EventCorrelateResult) txn.Change {
	e := result.Event
	c := txn.Change{Verb: txn.Create, Version: "v1", Ref: txn.Ref{Resource: schema.GroupResource{Resource: "events"}, Namespace: e.Namespace, Name: e.Name}, Object: e}
	if e.Count > 1 {
		c.Verb, c.Object, c.Patch, c.PatchType = txn.Patch, nil, result.Patch, types.StrategicMergePatchType
	}
	return c
}

func (w *writer) one(ctx context.Context, result *record.EventCorrelateResult) {
	event := result.Event.DeepCopy()
	var err error
	if event.Count > 1 {
		err = w.client.Patch(ctx, event, client.RawPatch(types.StrategicMergePatchType, result.Patch))
	}
	if event.Count <= 1 || client.IgnoreNotFound(err) == nil && err != nil {
		event = result.Event.DeepCopy()
		event.ResourceVersion = ""
		err = w.client.Create(ctx, event)
	}
	if err != nil {
		w.dropped(ctx, result.Event, err)
		return
	}
	w.correlator.UpdateState(event)
}

func (w *writer) dropped(ctx context.Context, e *corev1.Event, err error) {
	if ctx.Err() == nil {
		w.log.Debug("event dropped", "reason", e.Reason, "object", e.InvolvedObject.Name, "err", err)
	}
}
