package hosted

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
)

// Prefix is where the handler is served; the name of a repository follows.
const Prefix = "/git/"

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"

	// maxTalks is how many are served at once.
	maxTalks = 16
	// readTime is how long a request may take to come, and talkTime how long
	// its answer may take to go.
	readTime = 30 * time.Second
	talkTime = 5 * time.Minute
)

// Config is what a Handler needs.
type Config struct {
	// Dir is where the repositories are.
	Dir string
	// Identify names who sends a request; false: nobody is known by it.
	Identify func(*http.Request) (user string, known bool)
	// May tells whether who sends a request may read a repository.
	May    func(r *http.Request, name string) bool
	Logger *slog.Logger
}

// Handler serves Prefix. It is safe for concurrent use.
type Handler struct {
	cfg  Config
	busy chan struct{}
}

// New makes a Handler.
func New(cfg Config) *Handler { return &Handler{cfg: cfg, busy: make(chan struct{}, maxTalks)} }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, action, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, Prefix), "/")
	name = strings.TrimSuffix(name, ".git")
	if !ok || v1alpha1.HostedName(v1alpha1.HostedScheme+name) == "" {
		http.NotFound(w, r)
		return
	}
	asked := Credentials(r)
	if _, known := h.cfg.Identify(asked); !known {
		// git asks for a name and a password then: a token is a good one.
		w.Header().Set("WWW-Authenticate", `Basic realm="headway: any user name, and a token as the password", charset="UTF-8"`)
		refuse(w, http.StatusUnauthorized, "say who you are: with a client certificate (http.sslCert, http.sslKey) or a token as the password")
		return
	}
	if !h.cfg.May(asked, name) {
		refuse(w, http.StatusForbidden, fmt.Sprintf("you may not get gitsources/repository %q of the group %s", name, v1alpha1.GroupName))
		return
	}
	select {
	case h.busy <- struct{}{}:
		defer func() { <-h.busy }()
	default:
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusServiceUnavailable, "too many are served; try again soon")
		return
	}
	path := filepath.Join(h.cfg.Dir, name+".git")
	repository, err := repo.Open(path)
	if err != nil {
		if !errors.Is(err, repo.ErrNoRepository) {
			h.cfg.Logger.Warn("hosted repository not served", "name", name, "error", err)
		}
		refuse(w, http.StatusNotFound, fmt.Sprintf("this server has no repository %q; one is made when a GitSource names %s%s", name, v1alpha1.HostedScheme, name))
		return
	}
	defer repository.Close()
	h.serve(w, r, &talk{repo: repository, path: path}, action)
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, t *talk, action string) {
	ctx, cancel := context.WithTimeout(r.Context(), talkTime)
	defer cancel()
	// A recorder in a test has no connection whose deadlines could be set.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(readTime))
	_ = control.SetWriteDeadline(time.Now().Add(talkTime))
	w.Header().Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	service := r.URL.Query().Get("service")
	switch {
	case action == receivePack || action == "info/refs" && service == receivePack:
		refuse(w, http.StatusForbidden, "pushes over https are not taken yet: push on the server's machine, to "+t.path)
	case action == "info/refs" && service == uploadPack && r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "application/x-"+uploadPack+"-advertisement")
		t.advertise(w)
	case action == "info/refs":
		refuse(w, http.StatusForbidden, "only the smart protocol is spoken: use git of this century")
	case action == uploadPack && r.Method == http.MethodPost:
		h.upload(ctx, w, r, t)
	default:
		http.NotFound(w, r)
	}
}

func (h *Handler) upload(ctx context.Context, w http.ResponseWriter, r *http.Request, t *talk) {
	request, err := read(w, r)
	if err == nil {
		err = t.check(request)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/x-"+uploadPack+"-result")
	if err := t.answer(ctx, w, request); err != nil && ctx.Err() == nil {
		h.cfg.Logger.Warn("a fetch of a hosted repository broke off", "path", t.path, "error", err)
	}
}

// refuse answers with words that git shows to people.
func refuse(w http.ResponseWriter, status int, words string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, words) // an error means that the client is gone
}

// Credentials gives a request whose Basic password is its bearer token: git
// sends a token so.
func Credentials(r *http.Request) *http.Request {
	_, password, ok := r.BasicAuth()
	if !ok {
		return r
	}
	out := r.Clone(r.Context())
	out.Header.Set("Authorization", "Bearer "+password)
	return out
}
