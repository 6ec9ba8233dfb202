package gitsource_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/txntest"
	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/gitsource/forge/forgetest"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/gittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is the time at which every test begins.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var admin = txn.Identity{Name: "admin", Groups: []string{"system:masters"}}

const self = "system:gitsource"

// cluster is an emulated API, a bare repository made by git itself with a
// clone to work in, and an engine between them.
type cluster struct {
	hold  func(prefix string) // what notes wait for; nil: nothing
	t     testing.TB
	dir   string
	clock *clocktesting.FakeClock
	store *txntest.Store

	// logs stands for the agents; it may be nil.
	logs func(ctx context.Context, namespace, pod, container string, previous bool, lines int) ([]string, error)

	// rights are the namespaces that accounts may write in; others may
	// everything. It is guarded by mu.
	rights map[string][]string

	history     int // how many releases are kept; zero: the default
	stopEngine  func()
	endEngine   func()            // does not wait for its end
	observing   chan struct{}     // closed when the engine sees every write
	server      *gittest.Server   // nil until a story serves
	forge       *forgetest.Server // nil until a story has one
	forgeFailed time.Time         // when it was told to

	metrics *gitsource.Metrics // of all engines, one after the other

	mu     sync.Mutex // guards events
	events []string
}

func newCluster(t testing.TB, dir string) *cluster {
	c := bareCluster(t, dir)
	c.git(dir, "init", "-q", "--bare", "-b", "main", "cluster.git")
	c.git(filepath.Join(dir, "cluster.git"), "config", "receive.denyDeleteCurrent", "ignore")
	c.git(dir, "clone", "-q", "cluster.git", "work")
	return c
}

// bareCluster is one whose repository is made by others.
func bareCluster(t testing.TB, dir string) *cluster {
	c := &cluster{t: t, dir: dir, clock: clocktesting.NewFakeClock(start), metrics: gitsource.NewMetrics()}
	c.store = txntest.New(c.clock)
	return c
}

// git runs the real git, untouched by the machine's configuration.
func (c *cluster) git(dir string, args ...string) string {
	c.t.Helper()
	out, err := c.tryGit(dir, args...)
	if err != nil {
		c.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (c *cluster) tryGit(dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(c.t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Jane Doe", "GIT_AUTHOR_EMAIL=jane@example.org", "GIT_AUTHOR_DATE=2026-03-01T11:00:00Z",
		"GIT_COMMITTER_NAME=Jane Doe", "GIT_COMMITTER_EMAIL=jane@example.org", "GIT_COMMITTER_DATE=2026-03-01T11:00:00Z",
	}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (c *cluster) bare() string { return filepath.Join(c.dir, "cluster.git") }
func (c *cluster) work() string { return filepath.Join(c.dir, "work") }

// write puts a file into the working tree.
func (c *cluster) write(name, content string) {
	c.t.Helper()
	path := filepath.Join(c.work(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// push commits everything and pushes; it gives the commit.
func (c *cluster) push(message string) string {
	c.t.Helper()
	c.git(c.work(), "add", "-A")
	c.git(c.work(), "commit", "-q", "--allow-empty", "-m", message)
	c.git(c.work(), "push", "-q", "origin", "HEAD")
	return c.head()
}

func (c *cluster) head() string { return c.git(c.work(), "rev-parse", "HEAD") }

// run starts an engine. Stopping it is part of the test's end.
func (c *cluster) run() {
	c.t.Helper()
	e := c.engine()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	c.endEngine = cancel
	c.stopEngine = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("engine: %v", err)
		}
	})
}

// held is a database whose notes can be made to wait.
type held struct {
	txn.Interface
	hold func(prefix string)
}

func (h held) Notes(ctx context.Context, prefix string) ([]txn.Note, error) {
	if h.hold != nil {
		h.hold(prefix)
	}
	return h.Interface.Notes(ctx, prefix)
}

// runUntilItEnds starts an engine and gives what it ends with.
func (c *cluster) runUntilItEnds() <-chan error {
	c.t.Helper()
	e := c.engine()
	done := make(chan error, 1)
	go func() { done <- e.Run(c.t.Context()) }()
	return done
}

func (c *cluster) engine() *gitsource.Engine {
	c.t.Helper()
	observing := make(chan struct{})
	c.observing = observing
	e, err := gitsource.New(gitsource.Config{
		Observing: func() { close(observing) },
		Txn:       held{c.store, c.hold}, Mapper: c.store.Mapper(), Identity: txn.Identity{Name: self}, DataDir: filepath.Join(c.dir, "data"),
		ClusterName: "test", ClusterUID: "0f0e", Clock: c.clock, Logs: c.logs, Metrics: c.metrics, History: c.history,
		Limits: repo.Limits{Stall: 4 * time.Second, RefBytes: 1 << 20},
		Events: func(o *v1alpha1.GitSource, _, reason, message string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.events = append(c.events, o.Name+" "+reason+" "+message)
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return e
}

func (c *cluster) stop() {
	if c.stopEngine != nil {
		c.stopEngine()
	}
}

// follow makes a GitSource of the bare repository.
func (c *cluster) follow(name string, change func(*v1alpha1.GitSource)) {
	c.t.Helper()
	o := &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GitSourceSpec{URL: c.bare()}}
	if change != nil {
		change(o)
	}
	c.do(admin, txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: name}, Object: o})
}

func (c *cluster) do(as txn.Identity, changes ...txn.Change) {
	c.t.Helper()
	if _, err := c.store.Do(c.t.Context(), as, changes...); err != nil {
		c.t.Fatalf("as %s: %v", as.Name, err)
	}
}

func (c *cluster) get(ref txn.Ref) txn.Object {
	v, err := c.store.View(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	o, _ := v.Get(ref)
	return o
}

func (c *cluster) source(name string) *v1alpha1.GitSource {
	o, _ := c.get(txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: name}).(*v1alpha1.GitSource)
	return o
}

func (c *cluster) release(source, commit string) *v1alpha1.Release {
	o, _ := c.get(txn.Ref{Resource: v1alpha1.Resource("releases"), Name: v1alpha1.ReleaseName(source, commit)}).(*v1alpha1.Release)
	return o
}

// patience is how long a condition may take on a loaded machine.
const patience = time.Minute

// eventually waits until ok says nothing; every write of the store and a small
// pause are occasions to look.
func (c *cluster) eventually(what string, ok func() string) {
	c.t.Helper()
	if last := c.await(ok); last != "" {
		c.t.Fatalf("%s: %s", what, last)
	}
}

func (c *cluster) await(ok func() string) string { return c.awaitFor(patience, ok) }

func (c *cluster) awaitFor(patience time.Duration, ok func() string) string {
	changed := make(chan struct{}, 1)
	stop := c.store.Observe(func(txn.Write) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer stop()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		last := ok()
		if last == "" {
			return ""
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-deadline:
			return last
		}
	}
}

// phase waits until a commit's release has a phase.
func (c *cluster) phase(source, commit string, want v1alpha1.ReleasePhase) {
	c.t.Helper()
	c.eventually("release "+commit, func() string { return c.phaseIs(source, commit, want) })
}

func (c *cluster) phaseIs(source, commit string, want v1alpha1.ReleasePhase) string {
	r := c.release(source, commit)
	switch {
	case r == nil:
		s := c.source(source)
		return fmt.Sprintf("there is none; the source says %+v", s.Status.Conditions)
	case r.Status.Phase != want:
		return fmt.Sprintf("is %s (%s), want %s", r.Status.Phase, r.Status.Message, want)
	}
	return ""
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  key: %s\n", name, value)
}

func dataOf(o txn.Object) map[string]string { return o.(*corev1.ConfigMap).Data }
