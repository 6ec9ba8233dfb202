package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// Path is where the handler is served; the name of a GitSource follows.
const Path = "/hooks/"

const (
	maxBody     = 1 << 20
	maxCalls    = 16 // at once
	readTimeout = 10 * time.Second
	// memory is how long, and maxMemory how many calls are known again.
	memory    = 10 * time.Minute
	maxMemory = 1024
)

// Config is what a Handler needs.
type Config struct {
	// Txn gives access to the API; it is called for each request.
	Txn func() txn.Interface
	// Identity reads sources and their Secrets and annotates the sources.
	Identity txn.Identity
	// Count is told what became of each call, in one word.
	Count  func(result string)
	Clock  clock.PassiveClock
	Logger *slog.Logger
}

// Handler serves Path. It is safe for concurrent use.
type Handler struct {
	cfg  Config
	busy chan struct{}

	mu   sync.Mutex // guards seen
	seen map[[sha256.Size]byte]time.Time
}

// New makes a Handler.
func New(cfg Config) *Handler {
	return &Handler{cfg: cfg, busy: make(chan struct{}, maxCalls), seen: map[[sha256.Size]byte]time.Time{}}
}

// outcome is an answer and what is counted.
type outcome struct {
	status int
	result string
	text   string
}

var (
	fetching = outcome{http.StatusAccepted, "fetch", "the remote is asked"}
	ignored  = outcome{http.StatusAccepted, "ignored", "nothing that the source follows"}
	replayed = outcome{http.StatusOK, "replayed", "seen before"}
	// forged is the answer for names that do not exist too: it tells nothing.
	forged   = outcome{http.StatusUnauthorized, "forged", "not authentic"}
	tooLarge = outcome{http.StatusRequestEntityTooLarge, "too-large", fmt.Sprintf("more than %d bytes", maxBody)}
	tooMany  = outcome{http.StatusServiceUnavailable, "too-many", "too many calls at once"}
	notPost  = outcome{http.StatusMethodNotAllowed, "refused", "POST only"}
	broken   = outcome{http.StatusBadRequest, "refused", "the call ended early"}
	failed   = outcome{http.StatusInternalServerError, "failed", "the source could not be told; call again"}
)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := h.serve(w, r)
	h.cfg.Count(out.result)
	if out == notPost {
		w.Header().Set("Allow", http.MethodPost)
	}
	http.Error(w, out.text, out.status)
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) outcome {
	if r.Method != http.MethodPost {
		return notPost
	}
	select {
	case h.busy <- struct{}{}:
		defer func() { <-h.busy }()
	default:
		return tooMany
	}
	// A recorder in a test has no connection whose deadline could be set.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return tooLarge
	case err != nil:
		return broken
	}
	name := strings.TrimPrefix(r.URL.Path, Path)
	source, secret, err := h.lookUp(r.Context(), name)
	if err != nil {
		h.cfg.Logger.Warn("webhook not served", "source", name, "error", err)
		return failed
	}
	id := ""
	if source != nil && source.Spec.Webhook.Type == v1alpha1.WebhookGeneric {
		id = r.Header.Get("Webhook-Id") // which is signed there, and only there
	}
	switch {
	case source == nil || !authentic(source.Spec.Webhook.Type, secret, r.Header, body, h.cfg.Clock.Now()):
		return forged
	case !concerns(source, r.Header, body):
		return ignored
	case !h.first(name, id, body):
		return replayed
	}
	if err := h.tell(r.Context(), name, pushed(source, body)); err != nil {
		h.forget(name, id, body)
		h.cfg.Logger.Warn("webhook not served", "source", name, "error", err)
		return failed
	}
	return fetching
}

// lookUp gives a source that has a webhook, with its secret; nil: there is
// none.
func (h *Handler) lookUp(ctx context.Context, name string) (*v1alpha1.GitSource, []byte, error) {
	view, err := h.cfg.Txn().View(ctx)
	if err != nil {
		return nil, nil, err
	}
	o, _ := view.Get(txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: name})
	source, ok := o.(*v1alpha1.GitSource)
	if !ok || source.Spec.Webhook == nil {
		return nil, nil, nil
	}
	at := source.Spec.Webhook.SecretRef
	o, _ = view.Get(txn.Ref{Resource: schema.GroupResource{Resource: "secrets"}, Namespace: at.Namespace, Name: at.Name})
	secret, ok := o.(*corev1.Secret)
	if !ok {
		return nil, nil, nil
	}
	return source, bytes.TrimSpace(secret.Data["token"]), nil
}

// concerns tells whether a call can mean something new for a source: a push to
// another branch than the one that it follows or previews does not.
func concerns(source *v1alpha1.GitSource, h http.Header, body []byte) bool {
	for _, header := range []string{"X-Github-Event", "X-Gitea-Event", "X-Forgejo-Event"} {
		if event := h.Get(header); event == "ping" {
			return false
		}
	}
	var push struct {
		Ref string `json:"ref"`
	}
	// Calls in other forms, such as of form data, have no ref: they may mean any.
	if json.Unmarshal(body, &push) != nil || !strings.HasPrefix(push.Ref, "refs/") {
		return true
	}
	for _, patterns := range previewed(source) {
		for _, p := range patterns {
			if ok, err := path.Match(p, push.Ref); ok && err == nil {
				return true
			}
		}
	}
	return follows(source, push.Ref)
}

// follows tells whether a source may go to what is pushed to a reference.
func follows(source *v1alpha1.GitSource, pushed string) bool {
	switch ref := source.Spec.Ref; {
	case ref.Branch != "":
		return pushed == "refs/heads/"+ref.Branch
	case ref.Tag != "":
		return pushed == "refs/tags/"+ref.Tag
	case ref.Semver != "":
		return strings.HasPrefix(pushed, "refs/tags/")
	case ref.Name != "":
		return pushed == ref.Name
	}
	return true
}

func previewed(source *v1alpha1.GitSource) [][]string {
	out := [][]string{source.Spec.Previews.Refs}
	if e := source.Spec.Previews.Environments; e != nil {
		out = append(out, e.Refs)
	}
	return out
}

func digest(name, id string, body []byte) [sha256.Size]byte {
	inner := sha256.Sum256(body)
	return sha256.Sum256([]byte(name + "\n" + id + "\n" + string(inner[:])))
}

// first tells whether a call has not been seen lately. What identifies it is
// only what is signed: a header that anybody can change would not.
func (h *Handler) first(name, id string, body []byte) bool {
	now, key := h.cfg.Clock.Now(), digest(name, id, body)
	h.mu.Lock()
	defer h.mu.Unlock()
	if at, ok := h.seen[key]; ok && now.Sub(at) < memory {
		return false
	}
	if len(h.seen) >= maxMemory {
		for k, at := range h.seen {
			if now.Sub(at) >= memory {
				delete(h.seen, k)
			}
		}
	}
	if len(h.seen) >= maxMemory {
		clear(h.seen) // a fetch too many is all that can come of it
	}
	h.seen[key] = now
	return true
}

func (h *Handler) forget(name, id string, body []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.seen, digest(name, id, body))
}

// tell annotates the source, which the engine sees wherever it runs.
func (h *Handler) tell(ctx context.Context, name, push string) error {
	ref := txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: name}
	_, _, err := txn.Run(ctx, h.cfg.Txn(), h.cfg.Identity, txn.CommitOptions{}, func(view txn.View) ([]txn.Change, error) {
		annotations := map[string]string{v1alpha1.AnnotationFetch: h.cfg.Clock.Now().UTC().Format(time.RFC3339Nano)}
		if o, ok := view.Get(ref); ok && push != "" {
			annotations[v1alpha1.AnnotationPushed] = remember(o.GetAnnotations()[v1alpha1.AnnotationPushed], push)
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
		if err != nil {
			return nil, err
		}
		return []txn.Change{{
			Verb: txn.Patch, Ref: ref, Version: v1alpha1.SchemeGroupVersion.Version,
			Patch: patch, PatchType: types.MergePatchType, FieldManager: "headway",
		}}, nil
	})
	return err
}
