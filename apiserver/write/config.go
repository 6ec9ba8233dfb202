package write

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	uuidutil "k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/fieldmanager"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
)

// Store is what the write path needs of the store.
type Store interface {
	// Latest is the newest View that is here without asking: it may lack what
	// other servers have acknowledged.
	Latest() txn.View
	// View has every write that anyone has acknowledged.
	View(ctx context.Context) (txn.View, error)
	// Owns tells whether a View is one of the store's own, without pending
	// changes on top.
	Owns(view txn.View) bool
	// Txn writes in one transaction. It returns *txn.ConflictError when a compare fails,
	// txn.ErrEpoch when the epoch is over; when it returns without an error,
	// Latest includes the write.
	Txn(ctx context.Context, t store.Txn) (*store.Done, error)
	// Notes reads the records below a prefix.
	Notes(ctx context.Context, prefix string) ([]txn.Note, error)
	// Acquire begins a new epoch.
	Acquire(ctx context.Context, name string) (txn.Epoch, error)
}

// Custom finds the kinds that are defined on a View.
type Custom interface {
	// Row is the row of a resource in a version that is served; without a
	// version the storage version's. Nil: the View defines no such thing.
	Row(view txn.View, resource schema.GroupResource, version string) *kind.Kind
	// Attach makes sure that the store has the resource of a row that is about
	// to be written.
	Attach(ctx context.Context, row *kind.Kind) error
}

// Config is what a Path is made of.
type Config struct {
	Store Store
	Kinds []*kind.Kind
	// Custom adds the kinds that are no rows of the table; nil: there are none.
	Custom     Custom
	Authorizer Authorizer
	// Steps are the admission steps in the order in which they run.
	Steps []Step
	// Scheme knows the types of the kinds and of their subresources.
	Scheme *runtime.Scheme
	// Fields keeps managedFields; nil makes one of Scheme and Kinds.
	Fields *fieldmanager.Fields
	// Meter is told how long admission takes; nil: nobody is.
	Meter Meter
	// Clock defaults to the real one.
	Clock clock.PassiveClock
	// Log defaults to slog.Default.
	Log *slog.Logger

	// NewUID and NewSuffix are the sources of identity; tests replace them.
	NewUID    func() types.UID
	NewSuffix func() string
}

// Path is the write path. It is safe for concurrent use.
type Path struct {
	Config
	kinds  map[schema.GroupResource]*kind.Kind
	served map[schema.GroupVersionResource]*kind.Kind
	feed   *feed
	plans  plans
	guards guards
	turns  turns
}

// New makes a write path.
func New(c Config) (*Path, error) {
	switch {
	case c.Store == nil:
		return nil, errors.New("write path: no store")
	case c.Authorizer == nil:
		return nil, errors.New("write path: no authorizer")
	case c.Scheme == nil:
		return nil, errors.New("write path: no scheme")
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.NewUID == nil {
		c.NewUID = uuidutil.NewUUID
	}
	if c.NewSuffix == nil {
		c.NewSuffix = func() string { return rand.String(5) }
	}
	if c.Fields == nil {
		c.Fields = fieldmanager.New(c.Scheme)
	}
	p := &Path{Config: c, kinds: map[schema.GroupResource]*kind.Kind{}, served: map[schema.GroupVersionResource]*kind.Kind{}, feed: newFeed()}
	for _, k := range c.Kinds {
		p.kinds[k.Resource()] = k
		for _, row := range k.Rows() {
			p.served[row.GVR()] = row
		}
	}
	return p, nil
}

// Kind is the storage version's row of a resource on a View, or nil.
func (p *Path) Kind(view txn.View, resource schema.GroupResource) *kind.Kind {
	return p.row(view, resource, "")
}

// row is the row of a resource in a version, or nil; without a version it is
// the storage version's.
func (p *Path) row(view txn.View, resource schema.GroupResource, version string) *kind.Kind {
	if k := p.kinds[resource]; k != nil && version == "" {
		return k
	}
	if k := p.served[resource.WithVersion(version)]; k != nil || p.Custom == nil {
		return k
	}
	return p.Custom.Row(view, resource, version)
}

// indexes answers txn.Overlay: the values of one index of an object that is
// pending on a View.
func (p *Path) indexes(view txn.View, resource schema.GroupResource, index string, o txn.Object) []string {
	k := p.row(view, resource, "")
	if k == nil {
		return nil
	}
	for _, row := range k.Rows() {
		if values := row.Indexes[index]; values != nil {
			return values(o)
		}
	}
	return nil
}

// guards are the registered guards in the order of registration.
type guards struct {
	mu   sync.Mutex // guards list; the slice itself is copied on write
	list []*txn.Guard
}

// Guard registers a guard until remove is called.
func (p *Path) Guard(g txn.Guard) (remove func()) {
	entry := &g
	p.guards.mu.Lock()
	defer p.guards.mu.Unlock()
	p.guards.list = append(p.guards.list[:len(p.guards.list):len(p.guards.list)], entry)
	return func() {
		p.guards.mu.Lock()
		defer p.guards.mu.Unlock()
		var rest []*txn.Guard
		for _, e := range p.guards.list {
			if e != entry {
				rest = append(rest, e)
			}
		}
		p.guards.list = rest
	}
}

func (p *Path) registered() []*txn.Guard {
	p.guards.mu.Lock()
	defer p.guards.mu.Unlock()
	return p.guards.list
}
