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

// servers are the API endpoints of the cluster, the one that worked last
// first. It is safe for concurrent use.
type servers struct {
	// more gives endpoints that were found since, such as by gossip; may be nil.
	more func() []string

	mu    sync.Mutex // guards what follows
	known []string
}

func newServers(first ...string) *servers {
	s := &servers{}
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
	for _, e := range s.all() {
		conn, err := dialer.DialContext(ctx, network, e)
		if err == nil {
			s.prefer(e)
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}
