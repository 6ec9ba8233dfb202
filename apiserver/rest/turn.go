package rest

import (
	"context"
	"net/http"
	"strconv"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// Turn is what a request asks of Turns.
type Turn struct {
	Info     *RequestInfo
	Identity txn.Identity
	// Width tells how many seats the request takes, at most limit; nil: one.
	Width func(limit int) int
	// Brief says that do leaves its seats before it returns.
	Brief bool
}

// Turns lets requests in, each when it is its turn.
type Turns interface {
	// Take calls do and returns its error, or calls nothing and returns an API
	// status that says when to come again. It may set headers of the answer.
	Take(ctx context.Context, t Turn, header http.Header, do func(leave func()) error) error
}

// objectsPerSeat is how many objects of a list make it one seat wider.
const objectsPerSeat = 100

// inTurn has do answer the request when it is its turn. Streams that last as
// long as their client wants take no turn; a watch needs its seats until the
// initial events are sent.
func (h *Handler) inTurn(w http.ResponseWriter, r *http.Request, info *RequestInfo, identity txn.Identity, do func(*http.Request) error) error {
	if h.Turns == nil || info.Verb != "watch" && h.isLongRunning(info) {
		return do(r)
	}
	t := Turn{Info: info, Identity: identity, Brief: info.Verb == "watch"}
	if info.Verb == "list" || info.Verb == "watch" {
		t.Width = func(limit int) int { return h.width(r, info, limit) }
	}
	came := h.clock.Now()
	return h.Turns.Take(r.Context(), t, w.Header(), func(leave func()) error {
		if a := auditOf(w); a != nil {
			a.record.Waited = h.clock.Now().Sub(came)
		}
		if t.Brief {
			r = r.WithContext(context.WithValue(r.Context(), leaveKey{}, leave))
		} else if h.Inside != nil {
			h.Inside(info.Verb, 1)
			defer h.Inside(info.Verb, -1)
		}
		return do(r)
	})
}

type leaveKey struct{}

// leaveSeats is called once a watch has sent its initial events.
func leaveSeats(ctx context.Context) {
	if leave, ok := ctx.Value(leaveKey{}).(func()); ok {
		leave()
	}
}

// width estimates the work of a list by the objects that it goes through.
func (h *Handler) width(r *http.Request, info *RequestInfo, limit int) int {
	if info.Name != "" || attributesOf(r, info).Name != "" {
		return 1
	}
	query := r.URL.Query()
	if from := query.Get("resourceVersion"); info.Verb == "watch" && from != "" && from != "0" && !isTrue(query["sendInitialEvents"]) {
		return 1
	}
	snapshot := h.reader.Snapshot()
	k, ok := h.Kinds.ByGVR(snapshot, schema.GroupVersionResource{Group: info.Group, Version: info.Version, Resource: info.Resource})
	if !ok {
		return 1
	}
	most := limit * objectsPerSeat
	if n, err := strconv.Atoi(query.Get("limit")); err == nil && n > 0 {
		most = min(most, n)
	}
	if info.Namespace == "" {
		return seats(min(most, snapshot.Count(k.Resource())))
	}
	n := 0
	for range snapshot.Entries(k.Resource(), info.Namespace) {
		if n++; n >= most {
			break
		}
	}
	return seats(n)
}

func seats(objects int) int { return (objects + objectsPerSeat - 1) / objectsPerSeat }
