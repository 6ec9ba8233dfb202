package join

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// dialPatience bounds the try to reach one server.
const dialPatience = 3 * time.Second

// nextPatience bounds it when there are others to reach.
const nextPatience = 500 * time.Millisecond

// servers are the API endpoints of the cluster, the one that worked last
// first. It is safe for concurrent use.
type servers struct {
	// more gives endpoints that were found since, such as by gossip; may be nil.
	more func() []string

	mu    sync.Mutex // guards what follows
	known []string
	open  map[*connection]bool
}

// connection is one to an endpoint, until it is closed.
type connection struct {
	net.Conn
	endpoint string
	servers  *servers
}

// Close closes it.
func (c *connection) Close() error {
	c.servers.mu.Lock()
	delete(c.servers.open, c)
	c.servers.mu.Unlock()
	return c.Conn.Close()
}

// lost closes the connections to a server that answers nobody, so that what
// waits on them goes to another one, which is tried first from now on.
func (s *servers) lost(endpoint string) {
	s.mu.Lock()
	if i := slices.Index(s.known, endpoint); i >= 0 {
		s.known = append(slices.Delete(s.known, i, i+1), endpoint)
	}
	var dead []*connection
	for c := range s.open {
		if c.endpoint == endpoint {
			dead = append(dead, c)
		}
	}
	s.mu.Unlock()
	for _, c := range dead {
		_ = c.Close() // nobody is there to be told
	}
}

func newServers(first ...string) *servers {
	s := &servers{open: map[*connection]bool{}}
	s.add(first...)
	return s
}

func (s *servers) add(endpoints ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range endpoints {
		if !slices.Contains(s.known, e) {
			s.known = append(s.known, e)
		}
	}
}

// all are the endpoints in the order in which to try them.
func (s *servers) all() []string {
	s.mu.Lock()
	more := s.more
	s.mu.Unlock()
	if more != nil {
		s.add(more()...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.known)
}

func (s *servers) prefer(endpoint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.known, endpoint); i > 0 {
		s.known = slices.Insert(slices.Delete(s.known, i, i+1), 0, endpoint)
	}
}

// dial connects to the first server that answers, whatever address is asked
// for: all of them are the same API, and TLS checks that they are.
func (s *servers) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialPatience, KeepAlive: 10 * time.Second}
	var errs []error
	all := s.all()
	for i, e := range all {
		dialer.Timeout = dialPatience
		if i < len(all)-1 {
			dialer.Timeout = nextPatience
		}
		conn, err := dialer.DialContext(ctx, network, e)
		if err == nil {
			s.prefer(e)
			c := &connection{conn, e, s}
			s.mu.Lock()
			s.open[c] = true
			s.mu.Unlock()
			return c, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}
