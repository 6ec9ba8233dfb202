package gitsource

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"filippo.io/age"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/repo"
)

// EpochName is the singleton that only one engine at a time is.
const EpochName = "gitsource"

// Config is what an Engine needs.
type Config struct {
	// Txn reads and writes objects.
	Txn txn.Interface
	// Mapper finds the resource of a kind; it must be safe for concurrent use.
	Mapper plan.Mapper
	// Identity writes everything; it needs every right that the repositories'
	// content needs.
	Identity txn.Identity
	// Capabilities tells charts the cluster's version, and what it serves as
	// "apps/v1" and "apps/v1/Deployment". Nil: they learn what Helm supposes.
	Capabilities func() (version string, apis []string)
	// AgeKeys open encrypted files of every source, besides its own keys.
	AgeKeys []age.Identity
	// DataDir is where mirrors of remote repositories rest.
	DataDir string
	// ClusterName names the report branch, headway/<ClusterName>.
	ClusterName string
	// ClusterUID tells this cluster from another one of the same name.
	ClusterUID string
	// Key is the key of the digests over desired objects. Empty: one is made
	// and kept in DataDir.
	Key []byte
	// Logs, when not nil, gives the last lines of a container, or of the one
	// before it; they explain why a commit failed.
	Logs func(ctx context.Context, namespace, pod, container string, previous bool, lines int) ([]string, error)
	// Readable says why somebody may not read an object or, without a name, all
	// of a resource in a namespace. Nil: charts of those who have an account of
	// their own cannot look anything up.
	Readable func(view txn.View, who txn.Identity, ref txn.Ref) error
	// Observing, when not nil, is called when every write is seen from then on.
	Observing func()
	// Metrics may be nil for ones that nobody sees.
	Metrics *Metrics
	// Events, when not nil, is told what people should look at: a source, a
	// reason in one word and a message. It must not block.
	Events func(source *v1alpha1.GitSource, kind, reason, message string)
	// History is how many releases of a source are kept; zero: as many as
	// rendered commits.
	History int
	// Limits bound what a remote can cost; zero ones have their defaults.
	Limits repo.Limits
	// Clock may be nil for the real one.
	Clock clock.Clock
	// Logger may be nil for none.
	Logger *slog.Logger
}

func (c *Config) complete() error {
	switch {
	case c.Txn == nil || c.Mapper == nil:
		return errors.New("gitsource: Txn and Mapper are needed")
	case c.Identity.Name == "":
		return errors.New("gitsource: an Identity is needed")
	case c.DataDir == "" || c.ClusterName == "" || c.ClusterUID == "":
		return errors.New("gitsource: DataDir, ClusterName and ClusterUID are needed")
	}
	if c.History == 0 {
		c.History = keptCommits
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	if c.Events == nil {
		c.Events = func(*v1alpha1.GitSource, string, string, string) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("gitsource: %w", err)
	}
	if len(c.Key) == 0 {
		key, err := loadKey(filepath.Join(c.DataDir, "digest.key"))
		if err != nil {
			return fmt.Errorf("gitsource: digest key: %w", err)
		}
		c.Key = key
	}
	return nil
}

func loadKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil && len(key) == 32 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path+".new", key, 0o600); err != nil {
		return nil, err
	}
	return key, os.Rename(path+".new", path)
}
