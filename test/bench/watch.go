package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// seen is an object as a watch has brought it.
type seen struct {
	at      time.Time
	object  client.Object
	deleted bool
}

// watcher notes when it sees what, beside whoever waits for it.
type watcher struct {
	watch watch.Interface
	seen  chan seen
	// failed is why the watch has ended, when seen is closed.
	failed error
}

// watchAll begins a watch; it has begun when this returns.
func watchAll(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) (*watcher, error) {
	w, err := c.Watch(ctx, list, options...)
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", list, err)
	}
	one := &watcher{watch: w, seen: make(chan seen, 1024)}
	go func() {
		defer close(one.seen)
		for e := range w.ResultChan() {
			if o, ok := e.Object.(client.Object); ok {
				one.seen <- seen{time.Now(), o, e.Type == watch.Deleted}
				continue
			}
			one.failed = apierrors.FromObject(e.Object)
		}
	}()
	return one, nil
}

func watchPods(ctx context.Context, c client.WithWatch) (*watcher, error) {
	return watchAll(ctx, c, &corev1.PodList{}, client.InNamespace("default"))
}

func (w *watcher) stop() {
	w.watch.Stop()
	for range w.seen { //nolint:revive // drains until the watch has ended
	}
}

// await gives the time at which the first object came that wanted accepts.
func (w *watcher) await(ctx context.Context, what string, wanted func(client.Object) bool) (time.Time, error) {
	return w.next(ctx, what, func(s seen) bool { return !s.deleted && wanted(s.object) })
}

func (w *watcher) next(ctx context.Context, what string, wanted func(seen) bool) (time.Time, error) {
	late := time.NewTimer(patience)
	defer late.Stop()
	var last client.Object
	for {
		select {
		case s, ok := <-w.seen:
			if !ok {
				return time.Time{}, fmt.Errorf("wait for %s: the watch has ended: %w", what, w.failed)
			}
			last = s.object
			if wanted(s) {
				return s.at, nil
			}
		case <-late.C:
			return time.Time{}, fmt.Errorf("wait for %s: not within %v; last seen: %s", what, patience, dump(last))
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

// dump shows the last object of a vain wait.
func dump(o client.Object) string {
	text, err := json.Marshal(o)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
