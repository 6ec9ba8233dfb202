package inproc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/write"
)

// Watch watches what a list would show. Without a resourceVersion it begins
// with the present objects, each as ADDED. It ends with ctx or Stop.
func (c peerClient) Watch(ctx context.Context, out client.ObjectList, options ...client.ListOption) (watch.Interface, error) {
	k, err := c.server.kindOf(out)
	if err != nil {
		return nil, err
	}
	o := listOptions(options)
	view, err := c.current(ctx, "")
	if err != nil {
		return nil, err
	}
	if err := c.mayList(view, k, "watch", o); err != nil {
		return nil, err
	}
	if err := supported(k, o.FieldSelector); err != nil {
		return nil, err
	}
	from := view.Revision()
	version := o.AsListOptions().ResourceVersion
	if version != "" && version != "0" {
		if from, err = strconv.ParseInt(version, 10, 64); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version %q", version))
		}
	}
	cursor, err := c.server.Store.Watch(ctx, store.WatchOptions{Resource: k.Resource(), Namespace: o.Namespace, From: from})
	if err != nil {
		return nil, expired(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{kind: k, shape: out, options: o, cursor: cursor, events: make(chan watch.Event), cancel: cancel}
	var present *store.Snapshot
	if version == "" || version == "0" {
		present = view
	}
	s.running.Go(func() { s.run(ctx, present) })
	return s, nil
}

// stream turns the store's deliveries into a watch.
type stream struct {
	kind    *kind.Kind
	shape   client.ObjectList
	options *client.ListOptions
	cursor  *store.Watcher
	events  chan watch.Event
	cancel  context.CancelFunc
	running sync.WaitGroup
}

var _ watch.Interface = (*stream)(nil)

func (s *stream) ResultChan() <-chan watch.Event { return s.events }

// Stop ends the watch and waits for it.
func (s *stream) Stop() {
	s.cancel()
	s.running.Wait()
}

func (s *stream) matches(o txn.Object) bool {
	return write.Selects(s.kind, o, s.options.LabelSelector, s.options.FieldSelector)
}

func (s *stream) run(ctx context.Context, present *store.Snapshot) {
	defer close(s.events)
	defer s.cursor.Close()
	if present != nil {
		for o := range present.Each(s.kind.Resource(), s.options.Namespace) {
			if s.matches(o) && !s.send(ctx, watch.Added, o) {
				return
			}
		}
	}
	for {
		delivery, err := s.cursor.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				status := expired(err)
				s.put(ctx, watch.Event{Type: watch.Error, Object: statusOf(status)})
			}
			return
		}
		for _, e := range delivery.Events {
			if e = e.Select(s.matches); e != nil && !s.send(ctx, eventTypes[e.Type], e.Entry.Object) {
				return
			}
		}
	}
}

var eventTypes = map[store.EventType]watch.EventType{store.Added: watch.Added, store.Modified: watch.Modified, store.Deleted: watch.Deleted}

func (s *stream) send(ctx context.Context, t watch.EventType, shared txn.Object) bool {
	o, err := like(s.kind, shared, s.shape)
	if err != nil {
		return s.put(ctx, watch.Event{Type: watch.Error, Object: statusOf(apierrors.NewInternalError(err))})
	}
	if o == shared || s.kind != s.kind.Stored() {
		o = o.DeepCopyObject().(txn.Object)
	}
	return s.put(ctx, watch.Event{Type: t, Object: o})
}

func (s *stream) put(ctx context.Context, e watch.Event) bool {
	select {
	case s.events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// expired words the store's errors of watches as the API does.
func expired(err error) error {
	if store.IsExpired(err) {
		return apierrors.NewResourceExpired(err.Error())
	}
	if errors.As(err, new(apierrors.APIStatus)) || errors.Is(err, context.Canceled) {
		return err
	}
	return apierrors.NewInternalError(err)
}

func statusOf(err error) *metav1.Status {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		s := status.Status()
		return &s
	}
	return &apierrors.NewInternalError(err).ErrStatus
}
