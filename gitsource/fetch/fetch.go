package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
)

// Target is what is fetched. Sources with the same Target share a mirror;
// without the same credentials nobody sees what others were shown.
type Target struct {
	// URL of a remote, or the path of a bundle.
	URL string
	// Bundle says that it is a bundle.
	Bundle bool
	// Secret names the Secret with the credentials; zero: there are none.
	Secret v1alpha1.SecretReference
	// CABundle, PEM, is what a remote's certificate is checked against.
	CABundle string
	// Fallback is a git bundle that is read when the remote cannot be reached;
	// empty: there is none. Who does not name it is not moved by it.
	Fallback string
}

// dir is the name of the target's mirror. It is that of the URL alone where
// nothing else matters.
func (t Target) dir() string {
	name := t.URL
	if t.Secret != (v1alpha1.SecretReference{}) || t.CABundle != "" || t.Bundle {
		name = strings.Join([]string{t.URL, t.Secret.Namespace, t.Secret.Name, t.CABundle, fmt.Sprint(t.Bundle)}, "\n")
	}
	if t.Fallback != "" {
		name += "\nor " + t.Fallback
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:12]) + ".git"
}

// Config is what Fetchers need.
type Config struct {
	// Dir is where the mirrors rest.
	Dir string
	// Remote gathers, before each conversation, how to reach a target.
	Remote func(ctx context.Context, t Target) (repo.Remote, error)
	Clock  clock.Clock
	// Logger hears what fails beside the fetching itself; nil: nobody does.
	Logger *slog.Logger
	// Random gives numbers from 0 up to 1; nil: the machine's.
	Random func() float64
}

// Fetchers are the remotes that are followed. They are safe for concurrent use.
type Fetchers struct {
	cfg Config

	mu   sync.Mutex // guards all below, and members of every remote
	open map[Target]*remote
}

// New makes Fetchers that follow nothing yet.
func New(cfg Config) *Fetchers {
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Fetchers{cfg: cfg, open: map[Target]*remote{}}
}

// Member is one source's part in a remote. Leave must be called once.
type Member struct {
	fetchers *Fetchers
	remote   *remote
	options  Options
}

// Options are what one source wants of a remote.
type Options struct {
	// Interval between two questions; the shortest of all sources counts.
	Interval time.Duration
	// Refs are patterns of references that the source reads beside branches and
	// tags; the mirror has what any of its sources reads.
	Refs []string
	// Changed is called after every fetch that moved a reference or went
	// otherwise than the one before. It must not block.
	Changed func()
	// Began, when not nil, is called before each fetch, Done after it. They must
	// not block.
	Began func()
	Done  func(took time.Duration, err error)
}

// Join follows a target, beginning with a fetch at once unless it is followed
// already. The mirror on disk can be read from the first moment. The context's
// values are kept; its end does not end the following, Leave does.
func (f *Fetchers) Join(ctx context.Context, t Target, options Options) (*Member, error) {
	for {
		f.mu.Lock()
		r := f.open[t]
		if r != nil && r.ending {
			f.mu.Unlock()
			select { // two must not write into one mirror
			case <-r.ended:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if r == nil {
			mirror, err := repo.OpenMirror(filepath.Join(f.cfg.Dir, t.dir()))
			if err != nil {
				f.mu.Unlock()
				return nil, err
			}
			background, stop := context.WithCancel(context.WithoutCancel(ctx))
			r = &remote{fetchers: f, target: t, mirror: mirror, stop: stop, ended: make(chan struct{}), wake: make(chan struct{}, 1), members: map[*Member]bool{}}
			f.open[t] = r
			go r.run(background)
		}
		m := &Member{fetchers: f, remote: r, options: options}
		r.asked = r.asked || !r.has(options.Refs)
		r.members[m] = true
		f.mu.Unlock()
		r.poke() // a shorter interval may count from now on
		return m, nil
	}
}

// Repo is the mirror. It may be used until Leave.
func (m *Member) Repo() *repo.Repository { return m.remote.mirror }

// State is how the newest fetch ended, and whether one has succeeded since the
// target was joined.
func (m *Member) State() (err error, fetched bool) {
	m.fetchers.mu.Lock()
	defer m.fetchers.mu.Unlock()
	return m.remote.err, m.remote.fetched
}

// Now has the remote asked soon. then, when not nil, is called once a fetch that
// began after this call has ended, well or not; it must not block. It may be
// called after Leave, or never when nobody follows the remote any more.
func (m *Member) Now(then func()) {
	m.fetchers.mu.Lock()
	m.remote.asked = true
	if then != nil {
		m.remote.calls = append(m.remote.calls, then)
	}
	m.fetchers.mu.Unlock()
	m.remote.poke()
}

// Include has the mirror hold one more reference, for as long as the remote is
// followed; of such ones the newest are held. It tells whether it is held
// already; if not, then is called as by Now.
func (m *Member) Include(name string, then func()) bool {
	m.fetchers.mu.Lock()
	held := m.remote.has([]string{name})
	if !held {
		more := append(m.remote.more, name)
		m.remote.more = more[max(0, len(more)-maxMore):]
	}
	m.fetchers.mu.Unlock()
	if !held {
		m.Now(then)
	}
	return held
}

// Push brings one reference of the mirror to the remote, as repo.Push does.
func (m *Member) Push(ctx context.Context, name string) error {
	return m.remote.push(ctx, func(to repo.Remote) error { return m.remote.mirror.Push(ctx, to, name) })
}

// PushCommit makes a commit of the mirror the tip of the remote's reference, as
// repo.PushCommit does.
func (m *Member) PushCommit(ctx context.Context, name string, id repo.ID) error {
	return m.remote.push(ctx, func(to repo.Remote) error { return m.remote.mirror.PushCommit(ctx, to, name, id) })
}

// Leave ends the source's part; the last one closes the mirror and returns
// when nothing is written to it any more.
func (m *Member) Leave() {
	r := m.remote
	m.fetchers.mu.Lock()
	delete(r.members, m)
	last := len(r.members) == 0
	r.ending = last
	m.fetchers.mu.Unlock()
	if last {
		r.stop()
		<-r.ended
	}
}
