// Package events records what a component did or could not do as core/v1
// Events on the objects concerned. Equal events are counted and floods are
// damped by client-go's correlator.
package events

import (
	"context"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Recorder is what components record events with. It never blocks and never
// fails: an event that cannot be written is dropped.
type Recorder = record.EventRecorder

// New returns a recorder that writes through c as the named component until
// ctx ends, and a stop function that waits for the writer.
func New(ctx context.Context, component string, c client.Client, scheme *runtime.Scheme, clk clock.Clock, log *slog.Logger) (Recorder, func()) {
	broadcaster := record.NewBroadcaster()
	correlator := record.NewEventCorrelatorWithOptions(record.CorrelatorOptions{Clock: clk})
	w := &writer{client: c, correlator: correlator, log: log}
	done := make(chan struct{})
	events := make(chan *corev1.Event, 1000)
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
				w.write(ctx, e)
			case <-ctx.Done():
				return
			}
		}
	}()
	return broadcaster.NewRecorder(scheme, corev1.EventSource{Component: component}), func() {
		watcher.Stop()
		broadcaster.Shutdown()
		<-done
	}
}

type writer struct {
	client     client.Client
	correlator *record.EventCorrelator
	log        *slog.Logger
}

func (w *writer) write(ctx context.Context, e *corev1.Event) {
	result, err := w.correlator.EventCorrelate(e)
	if err != nil || result.Skip {
		return
	}
	event := result.Event.DeepCopy()
	if event.Count > 1 {
		err = w.client.Patch(ctx, event, client.RawPatch(types.StrategicMergePatchType, result.Patch))
	}
	if event.Count <= 1 || client.IgnoreNotFound(err) == nil && err != nil {
		event = result.Event.DeepCopy()
		event.ResourceVersion = ""
		err = w.client.Create(ctx, event)
	}
	if err != nil {
		if ctx.Err() == nil {
			w.log.Debug("event dropped", "reason", e.Reason, "object", e.InvolvedObject.Name, "err", err)
		}
		return
	}
	w.correlator.UpdateState(event)
}
