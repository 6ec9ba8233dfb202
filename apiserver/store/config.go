package store

import (
	"errors"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
)

// Defaults of Config.
const (
	// DefaultLogEvents is how many events of a resource can be resumed from.
	DefaultLogEvents = 8192
	// DefaultSnapshots is how many snapshots are kept for exact reads.
	DefaultSnapshots = 512
	// DefaultHistoryTime and DefaultHistoryRevisions are what compaction keeps
	// at least, both of them.
	DefaultHistoryTime      = 5 * time.Minute
	DefaultHistoryRevisions = 10_000
)

// Config is what a Store is made of.
type Config struct {
	// Backend holds the keys; NewEtcd makes one. Required.
	Backend Backend
	// Resources to serve from the start.
	Resources []Resource
	// Sealer stands between the encodings and the backend; nil stores them as
	// they are.
	Sealer Sealer
	// Logger hears about what is wrong. Required.
	Logger *slog.Logger
	// Clock for compaction's timing and bookmarks; nil: the real one.
	Clock clock.WithTicker

	// LogEvents, Snapshots, HistoryTime and HistoryRevisions replace the
	// defaults when not zero.
	LogEvents        int
	Snapshots        int
	HistoryTime      time.Duration
	HistoryRevisions int64
}

// Sealer makes values unreadable at rest. It may be called concurrently.
type Sealer interface {
	// Seal gives what to store of an object's encoding under a key.
	Seal(resource schema.GroupResource, key string, plain []byte) ([]byte, error)
	// Open gives the encoding back. It may be asked about values that were
	// stored before there was a Sealer, and may return stored itself.
	Open(resource schema.GroupResource, key string, stored []byte) ([]byte, error)
}

func (c Config) withDefaults() (Config, error) {
	if c.Backend == nil || c.Logger == nil {
		return c, errors.New("store config: Backend and Logger are required")
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.LogEvents == 0 {
		c.LogEvents = DefaultLogEvents
	}
	if c.Snapshots == 0 {
		c.Snapshots = DefaultSnapshots
	}
	if c.HistoryTime == 0 {
		c.HistoryTime = DefaultHistoryTime
	}
	if c.HistoryRevisions == 0 {
		c.HistoryRevisions = DefaultHistoryRevisions
	}
	return c, nil
}
