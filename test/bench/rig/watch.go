package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Seen is an object as a watch has brought it.
type Seen struct {
	At      time.Time
	Object  client.Object
	Deleted bool
}

// Watcher notes when it sees what, beside whoever waits for it.
type Watcher struct {
	watch watch.Interface
	seen  chan Seen
	// failed is why the watch has ended, when seen is closed.
	failed error
}

// Watch begins a watch; it has begun when this returns.
func Watch(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) (*Watcher, error) {
	w, err := c.Watch(ctx, list, options...)
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", list, err)
	}
	one := &Watcher{watch: w, seen: make(chan Seen, 1024)}
	go func() {
		defer close(one.seen)
		for e := range w.ResultChan() {
			if o, ok := e.Object.(client.Object); ok {
				one.seen <- Seen{time.Now(), o, e.Type == watch.Deleted}
				continue
			}
			one.failed = apierrors.FromObject(e.Object)
		}
	}()
	return one, nil
}

// Stop ends the watch.
func (w *Watcher) Stop() {
	w.watch.Stop()
	for range w.seen { //nolint:revive // drains until the watch has ended
	}
}

// Await gives the time at which the first object came that wanted accepts.
func (w *Watcher) Await(ctx context.Context, what string, wanted func(client.Object) bool) (time.Time, error) {
	return w.Next(ctx, what, func(s Seen) bool { return !s.Deleted && wanted(s.Object) })
}

// Next gives the time at which the first came that wanted accepts, deletions
// included.
func (w *Watcher) Next(ctx context.Context, what string, wanted func(Seen) bool) (time.Time, error) {
	late := time.NewTimer(Patience)
	defer late.Stop()
	var last client.Object
	for {
		select {
		case s, ok := <-w.seen:
			if !ok {
				return time.Time{}, fmt.Errorf("wait for %s: the watch has ended: %w", what, w.failed)
			}
			last = s.Object
			if wanted(s) {
				return s.At, nil
			}
		case <-late.C:
			return time.Time{}, fmt.Errorf("wait for %s: not within %v; last seen: %s", what, Patience, dump(last))
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

// maxDump is how much of an object an error carries.
const maxDump = 2000

// dump shows the last object of a vain wait.
func dump(o client.Object) string {
	text, err := json.Marshal(o)
	if err != nil {
		return err.Error()
	}
	return string(text[:min(len(text), maxDump)])
}
