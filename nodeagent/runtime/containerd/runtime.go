package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/dialer"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent/logkeeper"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

const (
	defaultNamespace   = "headway"
	defaultSnapshotter = "overlayfs"
	runcShim           = "io.containerd.runc.v2"

	// containerd on this machine is back within a second or not at all.
	dialBaseDelay = 20 * time.Millisecond
	dialMaxDelay  = time.Second
)

// Config says where containerd and the node's files are.
type Config struct {
	// Address is containerd's socket.
	Address string
	// Namespace in containerd; "headway" when empty.
	Namespace string
	// Snapshotter is "overlayfs" when empty.
	Snapshotter string
	// RunDir is for what does not survive a reboot (see the package comment).
	RunDir string
	// Handlers beside the default, by the name that RuntimeClasses use.
	Handlers map[string]Handler
	// Keeper is the log keeper's client.
	Keeper *logkeeper.Client
	// LogMaxSize and LogMaxFiles bound a container's log; zero: the keeper's defaults.
	LogMaxSize  int64
	LogMaxFiles int
	// Registries and Peers are where images come from beside the registry that
	// their name says; nil: from nowhere else.
	Registries Registries
	Peers      Peers
	// Clock is the real one when nil; Log is slog.Default.
	Clock clock.Clock
	Log   *slog.Logger
}

// Runtime implements runtime.Interface. Run must be running for events and
// for exits to be written down.
type Runtime struct {
	config Config
	clock  clock.Clock
	log    *slog.Logger
	client *client.Client
	quiet  *log.Entry
	tasks  tasks.TasksClient
	snaps  snapshots.Snapshotter
	host   hostFacts
	// execPrefix is that of this life's exec IDs: others are orphans.
	execPrefix string
	pods       podLocks
	images     imageCache

	mu         sync.Mutex // guards all below
	known      map[string]*meta
	rootfs     map[string]preparedRootfs
	watchers   map[chan runtime.Event]struct{}
	execNumber int
	settling   sync.WaitGroup
}

var _ runtime.Interface = (*Runtime)(nil)

// New returns a runtime; it connects when first used.
func New(config Config) (*Runtime, error) {
	if config.Address == "" || config.RunDir == "" || config.Keeper == nil {
		return nil, errors.New("containerd runtime: address, run directory and log keeper are needed")
	}
	if config.Namespace == "" {
		config.Namespace = defaultNamespace
	}
	if config.Snapshotter == "" {
		config.Snapshotter = defaultSnapshotter
	}
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	for _, dir := range []string{"pods", "containers", "io"} {
		if err := os.MkdirAll(filepath.Join(config.RunDir, dir), 0o711); err != nil {
			return nil, fmt.Errorf("containerd runtime: %w", err)
		}
	}
	host, err := readHostFacts()
	if err != nil {
		return nil, fmt.Errorf("containerd runtime: %w", err)
	}
	params := grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: dialBaseDelay, Multiplier: 2, MaxDelay: dialMaxDelay}, MinConnectTimeout: time.Second}
	c, err := client.New(config.Address, client.WithDefaultNamespace(config.Namespace), client.WithDialOpts([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dialer.ContextDialer),
		grpc.WithConnectParams(params),
	}))
	if err != nil {
		return nil, fmt.Errorf("containerd runtime: %w", err)
	}
	return &Runtime{
		config: config, clock: config.Clock, log: config.Log, client: c, host: host, quiet: quietLog(),
		tasks: c.TaskService(), snaps: c.SnapshotService(config.Snapshotter),
		execPrefix: "exec-" + strconv.FormatInt(config.Clock.Now().UnixNano(), 36) + "-",
		known:      map[string]*meta{}, rootfs: map[string]preparedRootfs{},
		watchers: map[chan runtime.Event]struct{}{},
	}, nil
}

// Close ends the connection to containerd; containers run on.
func (r *Runtime) Close() error {
	r.settling.Wait()
	return r.client.Close()
}

// in is ctx for containerd's client. The client's own log is not wanted: what
// matters of it comes back as errors.
func (r *Runtime) in(ctx context.Context) context.Context {
	ctx = log.WithLogger(ctx, r.quiet)
	return namespaces.WithNamespace(ctx, r.config.Namespace)
}

func quietLog() *log.Entry {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	return logrus.NewEntry(logger)
}

// podLocks serialise what is done to one pod: its shim must not be asked to
// end (the last delete) while another container is created in it.
type podLocks struct {
	mu    sync.Mutex // guards locks
	locks map[string]*podLock
}

type podLock struct {
	sync.Mutex
	users int // guarded by podLocks.mu
}

func (p *podLocks) lock(uid string) (unlock func()) {
	p.mu.Lock()
	if p.locks == nil {
		p.locks = map[string]*podLock{}
	}
	l := p.locks[uid]
	if l == nil {
		l = &podLock{}
		p.locks[uid] = l
	}
	l.users++
	p.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		p.mu.Lock()
		defer p.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(p.locks, uid)
		}
	}
}

// Version is containerd's own, such as "1.7.2".
func (r *Runtime) Version(ctx context.Context) (string, error) {
	v, err := r.client.Version(ctx)
	if err != nil {
		return "", fmt.Errorf("ask containerd for its version: %w", err)
	}
	return strings.TrimPrefix(v.Version, "v"), nil
}
