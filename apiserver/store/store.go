package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Store is the shared state. Its methods are safe for concurrent use.
//
//	Open ──▶ Snapshot, At, Notes work
//	  └─▶ Run ──▶ everything works ──▶ ctx ends: whoever waits gets ErrStopped
type Store struct {
	config  Config
	backend Backend

	current atomic.Pointer[Snapshot]
	waiting waiters

	mu    sync.RWMutex // guards feeds, ring and storing current: they move together
	feeds []*feedSet   // by the catalog's numbers
	ring  ring

	// writing is read-held from a transaction's encoding until the backend has
	// answered, so that Settle can wait for those that are under way.
	writing sync.RWMutex

	reads    reads
	commands chan command // to the apply loop
	unmarked chan int64   // batch revisions that nobody has marked yet
	wrote    chan int64   // published revisions, for housekeeping
	weighed  atomic.Pointer[weighing]
	arrived  atomic.Int64 // bytes of values, whoever wrote them
	// recalling is held by who fills a log with history.
	recalling chan struct{}
	stopped   chan struct{}
	ran       atomic.Bool

	// loop is owned by the apply loop (Open hands it over to Run).
	loop loop
}

// Open reads everything that the backend has of the resources. The Store
// follows the backend while Run runs.
func Open(ctx context.Context, config Config) (*Store, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{
		config:    config,
		backend:   config.Backend,
		commands:  make(chan command),
		unmarked:  make(chan int64, 1),
		wrote:     make(chan int64, 1),
		recalling: make(chan struct{}, 1),
		stopped:   make(chan struct{}),
	}
	s.reads.init()
	s.ring.limit = config.Snapshots
	c := &catalog{sealer: config.Sealer}
	for i := range config.Resources {
		r := config.Resources[i]
		if err := validate(c, &r); err != nil {
			return nil, err
		}
		c, _ = c.with(&r)
	}
	if err := s.load(ctx, c); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

// Run follows the backend until ctx ends. It is called once.
func (s *Store) Run(ctx context.Context) error {
	if !s.ran.CompareAndSwap(false, true) {
		return errors.New("store: Run was called twice")
	}
	defer s.stop()
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return s.follow(running) })
	g.Go(func() error { return s.answerReads(running) })
	g.Go(func() error { return s.keepHouse(running) })
	g.Go(func() error { return s.markAbandoned(running) })
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("run store: %w", err)
	}
	return nil
}

// stop releases whoever waits for the store.
func (s *Store) stop() {
	close(s.stopped)
	s.waiting.stop()
	s.Snapshot().verify()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, set := range s.feeds {
		set.reset(s.Snapshot().revision)
	}
}

// Snapshot returns the newest published state. It may be behind other servers'
// writes, never behind this Store's own acknowledged ones.
func (s *Store) Snapshot() *Snapshot { return s.current.Load() }

func validate(c *catalog, r *Resource) error {
	switch {
	case r.Encode == nil || r.Decode == nil:
		return fmt.Errorf("resource %s: Encode and Decode are required", r.Resource)
	case len(r.Prefix) <= len(registryPrefix)+1 || r.Prefix[:len(registryPrefix)] != registryPrefix || r.Prefix[len(r.Prefix)-1] != '/':
		return fmt.Errorf("resource %s: prefix %q is not /registry/…/", r.Resource, r.Prefix)
	}
	if _, taken := c.numbers[r.Resource]; taken {
		return fmt.Errorf("resource %s is there already", r.Resource)
	}
	if _, taken := c.of(r.Prefix); taken {
		return fmt.Errorf("resource %s: prefix %q is taken", r.Resource, r.Prefix)
	}
	return nil
}
