package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Caller is who sent a request.
type Caller struct {
	// Name is for the log.
	Name string
	// Node is the caller's node, when it is one already.
	Node string
	// Token says that the caller holds a token that admits nodes.
	Token bool
}

// ServerConfig is what a Server asks.
type ServerConfig struct {
	// Identify tells who sent a request; an error for bad credentials.
	Identify func(*http.Request) (Caller, error)
	// Alive tells whether a node of the name is heard.
	Alive func(node string) bool
	// Registered tells whether a machine has registered a node of the name,
	// whether or not it is heard now.
	Registered func(ctx context.Context, node string) (bool, error)
	// Admit counts a join with a token before it is answered; an error that is
	// ErrRefused says that the token admits nobody any more. nil: not counted.
	Admit func(ctx context.Context, caller Caller, node string) error
	// Answer is what nodes are told now.
	Answer func() Answer
	Logger *slog.Logger
}

// Server answers machines that join and nodes that come back. It is safe for
// concurrent use.
type Server struct{ config ServerConfig }

// NewServer returns a Server.
func NewServer(config ServerConfig) *Server { return &Server{config} }

// maxRequest bounds a request's body.
const maxRequest = 4 << 10

// ServeHTTP answers 200 with the Answer, 400, 401, 403, 405, 503, or 409
// when the name is another machine's.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "joining is POSTed", http.StatusMethodNotAllowed)
		return
	}
	caller, err := s.config.Identify(r)
	if err != nil {
		s.refuse(w, r, http.StatusUnauthorized, "the join token is unknown, revoked or expired", "error", err)
		return
	}
	if !caller.Token && caller.Node == "" {
		s.refuse(w, r, http.StatusForbidden, "only a join token or a node may ask", "user", caller.Name)
		return
	}
	var request Request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&request); err != nil {
		http.Error(w, fmt.Sprintf("read the request: %v", err), http.StatusBadRequest)
		return
	}
	if problems := validation.IsDNS1123Subdomain(request.Node); len(problems) > 0 {
		http.Error(w, fmt.Sprintf("node name %q: %s", request.Node, problems[0]), http.StatusBadRequest)
		return
	}
	if caller.Node != "" && caller.Node != request.Node {
		s.refuse(w, r, http.StatusForbidden, "a node may ask for itself alone", "user", caller.Name, "node", request.Node)
		return
	}
	if caller.Node == "" && s.config.Alive(request.Node) {
		s.refuse(w, r, http.StatusConflict, fmt.Sprintf("node %q is alive; choose another --node-name, or stop that machine first", request.Node), "user", caller.Name, "node", request.Node)
		return
	}
	if caller.Token {
		if !s.vacant(w, r, caller, request.Node) {
			return
		}
		if !s.admit(w, r, caller, request.Node) {
			return
		}
		s.config.Logger.Info("node joins", "node", request.Node, "user", caller.Name, "address", r.RemoteAddr)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err := json.NewEncoder(w).Encode(s.config.Answer()); err != nil {
		s.config.Logger.Debug("join answer not sent", "node", request.Node, "error", err)
	}
}

// vacant refuses a name that a machine has had: that machine comes back with
// its certificate, and a token says nothing about which machine holds it.
func (s *Server) vacant(w http.ResponseWriter, r *http.Request, caller Caller, node string) bool {
	taken, err := s.config.Registered(r.Context(), node)
	switch {
	case err != nil:
		s.refuse(w, r, http.StatusServiceUnavailable, "whether the name is taken cannot be told now; try again", "user", caller.Name, "node", node, "error", err)
	case taken:
		s.refuse(w, r, http.StatusConflict, fmt.Sprintf("node %q is another machine's: that one comes back with the certificate in its data directory; "+
			"choose another --node-name, or give its name away with \"headway node replace\"", node), "user", caller.Name, "node", node)
	default:
		return true
	}
	return false
}

// admit counts a token's use, or answers itself.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, caller Caller, node string) bool {
	if s.config.Admit == nil {
		return true
	}
	err := s.config.Admit(r.Context(), caller, node)
	switch {
	case errors.Is(err, ErrRefused):
		s.refuse(w, r, http.StatusForbidden, "the join token has no use left", "user", caller.Name, "node", node, "error", err)
	case err != nil:
		// Another machine may have used the token at the same moment.
		s.refuse(w, r, http.StatusServiceUnavailable, "the join token's use could not be counted; try again", "user", caller.Name, "node", node, "error", err)
	}
	return err == nil
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, reason string, args ...any) {
	s.config.Logger.Warn("joining refused", append([]any{"reason", reason, "address", r.RemoteAddr}, args...)...)
	http.Error(w, reason, status)
}
