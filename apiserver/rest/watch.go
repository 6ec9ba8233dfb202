package rest

import (
	"context"
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
	h        *Handler
	selector *selector
	frames   *frames
	options  *metav1.ListOptions
	limit    time.Duration
	sent     func(size int) // or nil
	listed   func(took time.Duration)
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
			"only the following media types are accepted: "+mediaJSON+";stream=watch, "+mediaProtobuf+";stream=watch, "+mediaCBORSequence)
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
	serve := &watch{h: h, selector: s, frames: f, options: options, limit: limit}
	if h.Watched != nil {
		serve.sent = h.Watched(c.info)
	}
	serve.listed = func(took time.Duration) {
		if h.Listed != nil && options.SendInitialEvents != nil && *options.SendInitialEvents {
			h.Listed(c.info, took)
		}
	}
	return serve.run(r.Context(), w)
}

// begin finds the revision from which events are wanted and the initial state,
// which is nil when none is.
func (w *watch) begin(ctx context.Context) (int64, *chunk, error) {
	revision, err := parseRevision(w.options.ResourceVersion)
	if err != nil {
		return 0, nil, err
	}
	initial := revision == 0
	if w.options.SendInitialEvents != nil {
		initial = *w.options.SendInitialEvents
	}
	if revision > 0 && !initial {
		_, err := w.h.notBefore(ctx, revision)
		return revision, nil, err
	}
	snapshot, err := w.h.snapshotFor(ctx, w.selector.kind, &metav1.ListOptions{ResourceVersion: w.options.ResourceVersion})
	if err != nil || !initial {
		return snapshotRevision(snapshot), nil, err
	}
	return snapshot.Revision(), w.h.collect(w.selector, snapshot, &metav1.ListOptions{}, nil), nil
}

func snapshotRevision(s *store.Snapshot) int64 {
	if s == nil {
		return 0
	}
	return s.Revision()
}

// run opens the watch and sends until time is over, the client is gone or the
// watch cannot go on.
func (w *watch) run(ctx context.Context, out http.ResponseWriter) error {
	begun := w.h.clock.Now()
	after, initial, err := w.begin(ctx)
	if err != nil {
		return err
	}
	s := w.selector
	options := store.WatchOptions{Resource: s.kind.Resource(), Namespace: s.namespace, Name: s.name,
		Index: s.index, IndexValue: s.value, From: after}
	if w.options.AllowWatchBookmarks {
		options.Bookmarks = w.h.BookmarkPeriod
	}
	watcher, err := w.h.reader.Watch(ctx, options)
	if err != nil && !store.IsExpired(err) {
		return err
	}
	stream := newStream(out, w.frames.media(), w.h.StallTime, w.h.buffers)
	if err != nil {
		// Clients rely on a good answer with an ERROR event in it.
		stream.fail(gone(err), w.frames)
		return nil
	}
	defer watcher.Close()
	if w.begun(stream, after, initial) != nil {
		return nil // the client is gone
	}
	leaveSeats(ctx)
	w.listed(w.h.clock.Now().Sub(begun))
	w.follow(ctx, stream, watcher)
	return nil
}

// begun sends the initial state, and the bookmark that ends it when the client
// has asked for one.
func (w *watch) begun(stream *stream, revision int64, initial *chunk) error {
	if initial != nil {
		for _, e := range initial.entries {
			if err := w.event(stream, added, e); err != nil {
				return err
			}
		}
		if w.options.SendInitialEvents != nil && w.options.AllowWatchBookmarks {
			if err := w.bookmark(stream, revision, true); err != nil {
				return err
			}
		}
	}
	return stream.flush()
}

// follow sends what the watcher delivers, and a last bookmark shortly before
// the end.
func (w *watch) follow(ctx context.Context, stream *stream, watcher *store.Watcher) {
	ctx, cancel := context.WithTimeout(ctx, w.limit)
	defer cancel()
	early, cancelEarly := context.WithTimeout(ctx, max(w.limit-bookmarkBeforeEnd, w.limit/2))
	defer cancelEarly()
	if w.deliver(early, stream, watcher) != nil || ctx.Err() != nil {
		return
	}
	if w.options.AllowWatchBookmarks {
		if w.bookmark(stream, watcher.Revision(), false) != nil || stream.flush() != nil {
			return
		}
	}
	_ = w.deliver(ctx, stream, watcher) // the watch ends here in any case
}

// deliver sends until the context ends, which is no error.
func (w *watch) deliver(ctx context.Context, stream *stream, watcher *store.Watcher) error {
	for {
		d, err := watcher.Next(ctx)
		if ctx.Err() != nil && err != nil {
			return nil
		}
		if err != nil {
			stream.fail(gone(err), w.frames)
			return err
		}
		if err := w.send(stream, d); err != nil {
			return err
		}
	}
}

// send writes what the selector lets pass and flushes once.
func (w *watch) send(stream *stream, d store.Delivery) error {
	if d.Bookmark > 0 {
		if err := w.bookmark(stream, d.Bookmark, false); err != nil {
			return err
		}
		return stream.flush()
	}
	for _, event := range d.Events {
		if event = event.Select(w.selector.matches); event == nil {
			continue
		}
		if err := w.event(stream, wireTypes[event.Type], event.Entry); err != nil {
			return err
		}
	}
	if stream.empty() {
		return nil
	}
	return stream.flush()
}

// event sends one entry, or the error that it cannot be encoded.
func (w *watch) event(stream *stream, t eventType, e *store.Entry) error {
	var wrong error
	err := stream.write(func(dst []byte) ([]byte, frame, error) {
		before := len(dst)
		var f frame
		dst, f, wrong = w.frames.event(dst, t, e)
		if w.sent != nil && wrong == nil {
			w.sent(len(dst) - before + len(f.shared) + len(f.tail))
		}
		return dst, f, wrong
	})
	if wrong != nil {
		stream.fail(wrong, w.frames)
	}
	return err
}

func (w *watch) bookmark(stream *stream, revision int64, initialEnd bool) error {
	return stream.write(func(dst []byte) ([]byte, frame, error) {
		dst, err := w.frames.bookmark(dst, revision, initialEnd)
		return dst, frame{}, err
	})
}
