package heartbeat

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// Path is where a Server is mounted.
	Path = "/headway/v1/heartbeat"
	// Interval is the time between beats.
	Interval = time.Second
	// Patience is how long a stream may be silent: three missed beats.
	Patience = 3*Interval + Interval/2
)

// State is what a server knows of one node.
type State struct {
	// Alive says that a stream is open and not silent.
	Alive bool
	// Since is when Alive became what it is.
	Since time.Time
	// Reset says that the last stream was broken off rather than fell silent.
	Reset bool
	// Heard is when the last beat came; zero for a node in the server's process.
	Heard time.Time
	// Probed is when the last probe came that the node has had an answer to.
	Probed time.Time
}

// Clock is what silence is measured by. It should stand still when the server's
// process does, or all nodes have been silent then.
type Clock interface {
	Now() time.Time
	AfterFunc(d time.Duration, f func()) clock.Timer
}

// Server receives the streams. It is safe for concurrent use.
type Server struct {
	// node tells whose stream a request is; false: nobody's who may beat.
	node  func(*http.Request) (string, bool)
	clock Clock

	mu     sync.Mutex // guards what follows
	states map[string]*entry
	watch  map[int]chan<- string
	next   int
}

type entry struct {
	State
	streams int
	probes  []*probed // of the last streams, the newest first
}

// NewServer returns a Server that asks node for the name of the authenticated
// node behind a request.
func NewServer(node func(*http.Request) (string, bool), clock Clock) *Server {
	return &Server{node: node, clock: clock, states: map[string]*entry{}, watch: map[int]chan<- string{}}
}

// State is what is known of a node; the zero State when it never beat.
func (s *Server) State(node string) State {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.states[node]; e != nil {
		return e.State
	}
	return State{}
}

// Watch sends the name of every node whose State has changed, until stop is
// called. The channel needs a buffer; when it is full, names are lost.
func (s *Server) Watch(changed chan<- string) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.next
	s.next++
	s.watch[id] = changed
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watch, id)
	}
}

// ServeHTTP holds one stream until it breaks or falls silent.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	node, ok := s.node(r)
	if !ok {
		http.Error(w, "only a node may send heartbeats", http.StatusForbidden)
		return
	}
	if r.Method != http.MethodPost {
		http.Error(w, "heartbeats are POSTed", http.StatusMethodNotAllowed)
		return
	}
	control := http.NewResponseController(w)
	if r.ProtoMajor < 2 { // HTTP/1.1 answers only after the request
		http.Error(w, "heartbeats need a stream in both directions", http.StatusHTTPVersionNotSupported)
		return
	}
	key := newKey()
	s.open(node, key)
	silence := s.endWhenSilent(control)
	// What was not silent was broken off.
	defer func() { s.closed(node, !silence.stop()) }()
	w.Header().Set(keyHeader, encodeKey(key))
	w.Header().Set(nodeHeader, node)
	w.WriteHeader(http.StatusOK)
	beat := make([]byte, 1)
	for {
		if _, err := r.Body.Read(beat); err != nil {
			return
		}
		s.heard(node)
		silence.timer.Reset(Patience)
		if _, err := w.Write(beat); err != nil {
			return
		}
		if control.Flush() != nil {
			return
		}
	}
}

// silent ends a stream that is.
type silent struct {
	timer clock.Timer

	mu         sync.Mutex // guards what follows
	over, ends bool
}

// endWhenSilent begins to wait. Deadlines of the connection itself would be due
// by the clock of the day.
func (s *Server) endWhenSilent(control *http.ResponseController) *silent {
	l := &silent{}
	l.timer = s.clock.AfterFunc(Patience, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.over {
			return // there is no stream any more
		}
		l.ends = true
		past := time.Unix(1, 0)
		// A stream that takes no deadline has ended.
		_ = errors.Join(control.SetReadDeadline(past), control.SetWriteDeadline(past))
	})
	return l
}

// stop tells whether the stream was ended for its silence.
func (l *silent) stop() bool {
	l.timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	return l.ends
}

// Run is the stream of the agent in the server's own process: the node is
// alive as long as the process. It stays alive when ctx ends, because then the
// process ends as well, and its next life would find it declared lost.
func (s *Server) Run(ctx context.Context, node string) error {
	s.open(node, nil)
	<-ctx.Done()
	return nil
}

// Heard returns at once: the server hears its own process.
func (s *Server) Heard(context.Context) error { return nil }

func (s *Server) open(node string, key []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.states[node]
	if e == nil {
		e = &entry{}
		s.states[node] = e
	}
	e.streams++
	if key != nil {
		// The answer that brings the new key may be lost or late: the node goes on
		// with the one that it has.
		e.probes = append([]*probed{{key: key}}, e.probes[:min(len(e.probes), keptKeys-1)]...)
	}
	s.set(node, e, true)
}

func (s *Server) heard(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[node].State.Heard = s.clock.Now()
}

func (s *Server) closed(node string, reset bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.states[node]
	if e.streams--; e.streams == 0 {
		e.Reset = reset
		s.set(node, e, false)
	}
}

// set changes a node's State and tells the watchers; s.mu is held.
func (s *Server) set(node string, e *entry, alive bool) {
	if e.Alive == alive && !e.Since.IsZero() {
		return
	}
	e.Alive, e.Since = alive, s.clock.Now()
	e.Reset = e.Reset && !alive
	s.tell(node)
}

// tell sends a name to who watches; s.mu is held.
func (s *Server) tell(node string) {
	for _, ch := range s.watch {
		select {
		case ch <- node:
		default:
		}
	}
}

// Forget drops what is known of a node that was removed from the cluster.
func (s *Server) Forget(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.states[node]; e != nil && e.streams == 0 {
		delete(s.states, node)
	}
}

// Await returns when the node's State satisfies want, or ctx ends.
func (s *Server) Await(ctx context.Context, node string, want func(State) bool) error {
	changed := make(chan string, 64)
	defer s.Watch(changed)()
	for !want(s.State(node)) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
	return nil
}
