// Package txnhttp is the server's side of the transaction contract over HTTPS;
// the client and the messages are api/txn/remote.
//
// Whoever may call it at all is decided by path before it is reached. Views
// are authorized as lists of every resource in them, plans and commits by the
// write path under the caller's identity, as in process.
package txnhttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/remote"
	"github.com/headway-sh/headway/apiserver/write"
)

// maxBody bounds a question: the largest transaction, and its encoding.
const maxBody = 64 << 20

// Config is what a Server is made of; all of it is required.
type Config struct {
	DB         txn.Interface
	Authorizer write.Authorizer
	Codec      remote.Codec
	// Identity is who makes a request, and Fail answers with an error's Status.
	Identity func(ctx context.Context) txn.Identity
	Fail     func(w http.ResponseWriter, r *http.Request, err error)
	// Committed is told about every commit, be it written or not.
	Committed func(w http.ResponseWriter, result *txn.Result, done *txn.Committed, err error)
	Log       *slog.Logger
}

// Server answers the calls. It is safe for concurrent use.
type Server struct {
	Config
	calls map[string]call
}

// call answers a question, or returns an error before it has written anything.
type call func(w http.ResponseWriter, r *http.Request, identity txn.Identity) error

// New makes a Server.
func New(c Config) (*Server, error) {
	if c.DB == nil || c.Authorizer == nil || c.Codec.Scheme == nil || c.Identity == nil || c.Fail == nil || c.Committed == nil || c.Log == nil {
		return nil, errors.New("transaction server: everything in its Config is required")
	}
	s := &Server{Config: c}
	s.calls = map[string]call{
		"POST view": s.view, "POST plan": s.plan, "POST commit": s.commit,
		"POST notes": s.notes, "POST acquire": s.acquire, "GET observe": s.observe,
	}
	return s, nil
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, _ := strings.CutPrefix(r.URL.Path, remote.Path+"/")
	answer, ok := s.calls[r.Method+" "+name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if err := answer(w, r, s.Identity(r.Context())); err != nil {
		s.Fail(w, r, err)
	}
}

func question(w http.ResponseWriter, r *http.Request, into any) error {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into)
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

func answer(w http.ResponseWriter, o any) error {
	w.Header().Set("Content-Type", "application/json")
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Write(b) // an error means that the client is gone
	return nil
}

// view streams all objects of the resources at one revision.
func (s *Server) view(w http.ResponseWriter, r *http.Request, identity txn.Identity) error {
	var q remote.View
	if err := question(w, r, &q); err != nil {
		return err
	}
	view, err := s.DB.View(r.Context())
	if err != nil {
		return err
	}
	for _, resource := range q.Resources {
		if err := write.Authorize(s.Authorizer, view, identity, write.Attributes{Verb: "list", Resource: resource}); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/json;stream=lines")
	lines := json.NewEncoder(w)
	if err := lines.Encode(remote.ViewLine{Revision: view.Revision()}); err != nil {
		return nil // the client is gone
	}
	for _, resource := range q.Resources {
		if err := s.sendAll(lines, view, resource); err != nil {
			// Without its last line the answer is known to be incomplete.
			s.Log.Info("a view was not sent whole", "resource", resource.String(), "error", err)
			return nil
		}
	}
	_ = lines.Encode(remote.ViewLine{Complete: true}) // nothing follows
	return nil
}

func (s *Server) sendAll(lines *json.Encoder, view txn.View, resource schema.GroupResource) error {
	for o := range view.Each(resource, "") {
		b, err := s.Codec.Encode(o)
		if err != nil {
			return err
		}
		if err := lines.Encode(remote.ViewLine{Resource: resource, Object: b}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) changes(list []remote.Change) ([]txn.Change, error) {
	changes := make([]txn.Change, len(list))
	for i, c := range list {
		var err error
		if changes[i], err = s.Codec.DecodeChange(c); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	return changes, nil
}

// plan answers with what the changes would do now.
func (s *Server) plan(w http.ResponseWriter, r *http.Request, identity txn.Identity) error {
	var q []remote.Change
	if err := question(w, r, &q); err != nil {
		return err
	}
	result, err := s.planned(r.Context(), identity, q)
	if err != nil {
		return err
	}
	p := remote.Plan{Revision: result.Revision, Compares: result.Compares, Outcomes: make([]remote.Outcome, len(result.Outcomes))}
	for i, o := range result.Outcomes {
		before, err := s.Codec.Encode(o.Before)
		if err != nil {
			return err
		}
		after, err := s.Codec.Encode(o.After)
		if err != nil {
			return err
		}
		p.Outcomes[i] = remote.Outcome{Operation: o.Operation, Before: before, After: after, Warnings: o.Warnings, Err: remote.EncodeError(o.Err)}
	}
	return answer(w, p)
}

func (s *Server) planned(ctx context.Context, identity txn.Identity, list []remote.Change) (*txn.Result, error) {
	changes, err := s.changes(list)
	if err != nil {
		return nil, err
	}
	view, err := s.DB.View(ctx)
	if err != nil {
		return nil, err
	}
	return s.DB.Plan(ctx, view, identity, changes)
}
