package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// patience bounds how long a client may take to say what it wants.
const patience = 5 * time.Second

// Server has a listener for each Service that wants one. It is safe for
// concurrent use.
type Server struct {
	listen func(port uint16) (net.Listener, error)
	log    *slog.Logger

	mu     sync.Mutex // guards checks
	checks map[types.NamespacedName]*check
}

// check is one Service's.
type check struct {
	service types.NamespacedName
	port    uint16
	server  *http.Server
	done    chan struct{}

	mu        sync.Mutex // guards endpoints
	endpoints int
}

// New returns a Server that listens on all addresses, by listen (nil: on this
// machine).
func New(listen func(port uint16) (net.Listener, error), log *slog.Logger) *Server {
	if listen == nil {
		listen = func(port uint16) (net.Listener, error) { return net.Listen("tcp", ":"+strconv.Itoa(int(port))) }
	}
	return &Server{listen: listen, log: log, checks: map[types.NamespacedName]*check{}}
}

// Set makes a Service's port answer that so many of its ready endpoints are on
// this node; port 0: it has none.
func (s *Server) Set(service types.NamespacedName, port uint16, endpoints int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.checks[service]
	if c != nil && c.port != port {
		delete(s.checks, service)
		if err := c.stop(); err != nil {
			return err
		}
		c = nil
	}
	if port == 0 {
		return nil
	}
	if c == nil {
		listener, err := s.listen(port)
		if err != nil {
			return fmt.Errorf("health check of %s: %w", service, err)
		}
		c = &check{service: service, port: port, done: make(chan struct{})}
		c.server = &http.Server{Handler: c, ReadHeaderTimeout: patience, IdleTimeout: patience}
		s.checks[service] = c
		go func() {
			defer close(c.done)
			if err := c.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				s.log.Warn("health check port ended", "service", service.String(), "error", err)
			}
		}()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endpoints = endpoints
	return nil
}

// Run closes all when ctx ends.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, c := range s.checks {
		errs = append(errs, c.stop())
	}
	clear(s.checks)
	return errors.Join(errs...)
}

func (c *check) stop() error {
	err := c.server.Close()
	<-c.done
	return err
}

// ServeHTTP answers in kube-proxy's form, which cloud providers know.
func (c *check) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	n := c.endpoints
	c.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(n))
	if n == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	type name struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "\t")
	_ = out.Encode(struct { // a client that has gone needs no answer
		Service             name `json:"service"`
		LocalEndpoints      int  `json:"localEndpoints"`
		ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
	}{name{c.service.Namespace, c.service.Name}, n, true})
}
