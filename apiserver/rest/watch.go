package rest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/apiserver/store"
)

// bookmarkBeforeEnd is how long before its end a watch gets a last bookmark,
// from which the client can go on without reading anything again.
const bookmarkBeforeEnd = 2 * time.Second

// watch is one watch request being served.
type watch struct {
	h         *Handler
	selector  *selector
	frames    *frames
	watcher   Watcher
	bookmarks bool
	sent      int64 // revision up to which the client knows everything
}

// serveWatch answers a watch.
//
//	resourceVersion  sendInitialEvents  begins with
//	"" or "0"        unset              ADDED for all there is
//	any              true               ADDED for all there is, then a bookmark
//	"" or "0"        false              nothing: what comes from now on
//	n                unset or false     what came after n, else 410
func (h *Handler) serveWatch(w http.ResponseWriter, r *http.Request, c *call) error {
	a, err := negotiate(r, hasProtobuf(c.kind.New()))
	if err != nil {
		return err
	}
	if a.media == mediaYAML {
		return statusError(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
			"only the following media types are accepted: "+mediaJSON+";stream=watch, "+mediaProtobuf+";stream=watch")
	}
	options, err := listOptions(r.URL.Query(), true)
	if err != nil {
		return err
	}
	s, err := newSelector(c.kind, c.info.Namespace, c.info.Name, options.LabelSelector, options.FieldSelector)
	if err != nil {
		return err
	}
	table, err := tableOptions(r.URL.Query())
	if err != nil {
		return err
	}
	limit := time.Duration(float64(h.MinWatchTime) * (1 + rand.Float64()))
	if options.TimeoutSeconds != nil && *options.TimeoutSeconds > 0 {
		limit = time.Duration(*options.TimeoutSeconds) * time.Second
	}
	f := &frames{kind: c.kind, accepted: a, table: table, clock: h.clock}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	return h.runWatch(ctx, w, &watch{h: h, selector: s, frames: f, bookmarks: options.AllowWatchBookmarks}, options, limit)
}

// begin finds the revision from which events are wanted and the initial state,
// which is nil when none is.
func (w *watch) begin(ctx context.Context, options *metav1.ListOptions) (int64, *chunk, error) {
	revision, err := parseRevision(options.ResourceVersion)
	if err != nil {
		return 0, nil, err
	}
	initial := options.SendInitialEvents != nil && *options.SendInitialEvents
	if options.SendInitialEvents == nil {
		initial = revision == 0
	}
	if revision > 0 && !initial {
		current := w.h.reader.Latest()
		if current.Revision() < revision {
			if current, err = w.h.notBefore(ctx, revision); err != nil {
				return 0, nil, err
			}
		}
		return revision, nil, nil
	}
	snapshot, err := w.h.snapshotFor(ctx, &metav1.ListOptions{ResourceVersion: options.ResourceVersion})
	if err != nil {
		return 0, nil, err
	}
	if !initial {
		return snapshot.Revision(), nil, nil
	}
	part := w.h.collect(w.selector, snapshot, &metav1.ListOptions{}, nil)
	return snapshot.Revision(), part, nil
}

// runWatch opens the watch and sends until time is over, the client is gone or
// the watch cannot go on.
func (h *Handler) runWatch(ctx context.Context, out http.ResponseWriter, w *watch, options *metav1.ListOptions, limit time.Duration) error {
	after, initial, err := w.begin(ctx, options)
	if err != nil {
		return err
	}
	w.watcher, err = h.reader.Watch(ctx, w.selector.kind.Resource(), w.selector.namespace, after)
	if err != nil {
		return h.watchRefused(out, w, err)
	}
	defer w.watcher.Close()
	w.sent = after
	stream := newStream(out, w.frames.media())
	if initial != nil {
		for _, e := range initial.entries {
			frame, err := w.frames.event(added, e)
			if err != nil {
				return stream.fail(err, w.frames)
			}
			if err := stream.write(frame); err != nil {
				return nil // the client is gone
			}
		}
		if options.SendInitialEvents != nil && w.bookmarks {
			if err := w.bookmark(stream, after, true); err != nil {
				return nil
			}
		}
	}
	if err := stream.flush(); err != nil {
		return nil
	}
	return w.follow(ctx, stream, limit)
}

// watchRefused answers a watch that cannot begin. Kubernetes answers expired
// revisions with an ERROR event in a good answer, and clients rely on it.
func (h *Handler) watchRefused(out http.ResponseWriter, w *watch, err error) error {
	status := statusOf(err)
	if status.Code != http.StatusGone {
		return err
	}
	stream := newStream(out, w.frames.media())
	return stream.fail(err, w.frames)
}

// result is what the watcher's goroutine hands over.
type result struct {
	batches []Batch
	err     error
}

// follow sends events as they come, in batches that end with a flush.
func (w *watch) follow(ctx context.Context, stream *stream, limit time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan result)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			batches, err := w.watcher.Next(ctx)
			select {
			case results <- result{batches, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	defer func() { cancel(); <-done }()

	end := w.h.clock.NewTimer(limit)
	defer end.Stop()
	last := w.h.clock.NewTimer(max(limit-bookmarkBeforeEnd, limit/2))
	defer last.Stop()
	tick := w.h.clock.NewTicker(w.h.BookmarkPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-end.C():
			return nil
		case <-last.C():
			if err := w.progress(stream); err != nil {
				return nil
			}
		case <-tick.C():
			if err := w.progress(stream); err != nil {
				return nil
			}
		case r := <-results:
			if r.err != nil {
				if ctx.Err() != nil || errors.Is(r.err, context.Canceled) {
					return nil
				}
				return stream.fail(r.err, w.frames)
			}
			if err := w.send(stream, r.batches); err != nil {
				return nil
			}
		}
	}
}

// send writes the events that the selector lets pass and flushes once.
func (w *watch) send(stream *stream, batches []Batch) error {
	wrote := false
	for _, batch := range batches {
		for _, event := range batch.Events {
			t, e, ok := w.selector.transition(event)
			if !ok {
				continue
			}
			frame, err := w.frames.event(t, e)
			if err != nil {
				return stream.fail(err, w.frames)
			}
			if err := stream.write(frame); err != nil {
				return err
			}
			wrote = true
		}
		w.sent = max(w.sent, batch.Revision)
	}
	if wrote {
		return stream.flush()
	}
	return nil
}

// transition is what an event means to somebody who sees only what matches:
// an object that begins to match is new to them, one that no longer does is
// gone. The state that a DELETED carries is the last that matched, at the
// revision of the change.
func (s *selector) transition(event *store.Event) (eventType, *store.Entry, bool) {
	if event.Type == store.Deleted {
		if event.Before != nil && !s.matches(event.Before.Object) {
			return "", nil, false
		}
		return deletedEvent, event.Entry, event.Before != nil || s.matches(event.Entry.Object)
	}
	now := s.matches(event.Entry.Object)
	before := event.Before != nil && event.Type != store.Added && s.matches(event.Before.Object)
	switch {
	case now && before:
		return modified, event.Entry, true
	case now:
		return added, event.Entry, true
	case before:
		return deletedEvent, leftAt(event.Before, event.Entry.Revision), true
	}
	return "", nil, false
}

// progress sends a bookmark when the client does not know it yet.
func (w *watch) progress(stream *stream) error {
	revision := max(w.sent, w.watcher.Progress())
	if !w.bookmarks {
		return nil
	}
	w.sent = revision
	if err := w.bookmark(stream, revision, false); err != nil {
		return err
	}
	return stream.flush()
}

func (w *watch) bookmark(stream *stream, revision int64, initialEnd bool) error {
	frame, err := w.frames.bookmark(revision, initialEnd)
	if err != nil {
		return err
	}
	return stream.write(frame)
}
