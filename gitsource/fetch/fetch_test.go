package fetch_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/fetch"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/gittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a served repository and who follows it.
type rig struct {
	t        *testing.T
	root     string
	server   *gittest.Server
	clock    *clocktesting.FakeClock
	fetchers *fetch.Fetchers
	fetches  atomic.Int32
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, root: t.TempDir(), clock: clocktesting.NewFakeClock(time.Unix(1e9, 0))}
	r.git("init", "-q", "--bare", "-b", "main", "remote.git")
	r.git("init", "-q", "-b", "main", "work")
	r.server = gittest.New(t, r.root)
	r.fetchers = fetch.New(fetch.Config{Dir: filepath.Join(r.root, "mirrors"), Clock: r.clock, Random: func() float64 { return 0.5 },
		Remote: func(_ context.Context, t fetch.Target) (repo.Remote, error) {
			if t.Secret.Name == "missing" {
				return repo.Remote{}, errors.New("no such Secret")
			}
			return repo.Remote{URL: t.URL, Token: gittest.Token, CABundle: r.server.CA}, nil
		}})
	r.commit()
	return r
}

func (r *rig) git(args ...string) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir = r.root
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.root, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=J", "GIT_AUTHOR_EMAIL=j@x", "GIT_COMMITTER_NAME=J", "GIT_COMMITTER_EMAIL=j@x"}
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (r *rig) commit() {
	r.git("-C", "work", "commit", "-q", "--allow-empty", "-m", "x")
	r.git("-C", "work", "push", "-q", "../remote.git", "main")
}

// join follows the repository and counts.
func (r *rig) join(t fetch.Target, interval time.Duration, changed *atomic.Int32) *fetch.Member {
	r.t.Helper()
	if t.URL == "" {
		t.URL = r.server.HTTPS("remote.git")
	}
	m, err := r.fetchers.Join(r.t.Context(), t, fetch.Options{Interval: interval,
		Changed: func() { changed.Add(1) }, Done: func(time.Duration, error) { r.fetches.Add(1) }})
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// until waits for a condition; nothing here takes long.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("not %s; %d fetches", what, r.fetches.Load())
		}
	}
}

// idle waits until the remote waits for the clock.
func (r *rig) idle() {
	r.t.Helper()
	r.until("waiting", r.clock.HasWaiters)
}

// TestOneForMany: however many follow, one asks; the last one to leave ends it.
func TestOneForMany(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var first, second atomic.Int32
	a := r.join(fetch.Target{}, time.Hour, &first)
	r.until("fetched", func() bool { return first.Load() == 1 })
	b := r.join(fetch.Target{}, time.Minute, &second)
	if a.Repo() != b.Repo() {
		t.Error("two mirrors of one remote")
	}
	if err, fetched := b.State(); err != nil || !fetched {
		t.Errorf("who comes later sees %v, %v", err, fetched)
	}
	r.idle()
	r.server.Requests()
	r.commit()
	r.clock.Step(time.Minute) // the shorter interval counts
	r.until("told", func() bool { return first.Load() == 2 && second.Load() == 1 })
	asked := 0
	for _, q := range r.server.Requests() {
		if strings.HasSuffix(q.Path, "/info/refs") {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("the remote was asked %d times", asked)
	}
	a.Leave()
	var answered atomic.Int32
	b.Now(func() { answered.Add(1) })
	r.idle()
	if answered.Load() != 0 {
		t.Error("answered before a fetch")
	}
	r.until("answered by another fetch", func() bool {
		r.clock.Step(100 * time.Millisecond) // who waits may wait for an earlier moment still
		return answered.Load() == 1 && r.fetches.Load() >= 4
	})
	if second.Load() != 1 {
		t.Error("told although nothing has changed")
	}
	b.Leave()
	c := r.join(fetch.Target{}, time.Minute, &second) // begins anew, on the same disk
	if _, id, err := c.Repo().Resolve(v1alpha1.GitReference{}); err != nil || id.IsZero() {
		t.Errorf("the mirror has %s, %v", id, err)
	}
	c.Leave()
}

// TestCredentialsPart: who has other credentials shares nothing.
func TestCredentialsPart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var first, second atomic.Int32
	a := r.join(fetch.Target{Secret: v1alpha1.SecretReference{Namespace: "x", Name: "y"}}, time.Minute, &first)
	defer a.Leave()
	r.until("fetched", func() bool { return first.Load() == 1 })
	b := r.join(fetch.Target{Secret: v1alpha1.SecretReference{Namespace: "x", Name: "missing"}}, time.Minute, &second)
	defer b.Leave()
	r.until("failed", func() bool { return second.Load() == 1 })
	if _, _, err := b.Repo().Resolve(v1alpha1.GitReference{}); !errors.Is(err, repo.ErrEmpty) {
		t.Errorf("without the Secret the mirror says %v", err)
	}
}

// TestFallbackParts: a bundle that stands in for a remote does so for those only
// who name it, and not for others of the same repository.
func TestFallbackParts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path := filepath.Join(r.root, "standing-in.bundle")
	var first, second atomic.Int32
	a, b := r.join(fetch.Target{Fallback: path}, time.Minute, &first), r.join(fetch.Target{}, time.Minute, &second)
	defer a.Leave()
	defer b.Leave()
	r.until("fetched", func() bool { return first.Load() == 1 && second.Load() == 1 })
	tip := func(m *fetch.Member) repo.ID {
		_, id, err := m.Repo().Resolve(v1alpha1.GitReference{Branch: "main"})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	was := tip(b)
	r.server.Break(gittest.Away)
	r.git("-C", "work", "commit", "-q", "--allow-empty", "-m", "by hand")
	r.git("-C", "work", "bundle", "create", "-q", path, "main")
	ends := make(chan struct{}, 2)
	for _, m := range []*fetch.Member{a, b} {
		m.Now(func() { ends <- struct{}{} })
	}
	r.until("asked", func() bool {
		r.clock.Step(time.Second)
		return len(ends) == 2
	})
	if tip(a) == was {
		t.Error("who names the bundle stays where he was")
	}
	if tip(b) != was {
		t.Error("who does not name the bundle is moved by it")
	}
}

// TestFailuresAndQuiet: the pauses grow while a remote is away, somebody's call
// does not wait for them, and a remote that wants quiet has it in any case.
func TestFailuresAndQuiet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var changed atomic.Int32
	r.server.Break(gittest.Away)
	m := r.join(fetch.Target{}, time.Minute, &changed)
	defer m.Leave()
	n := int32(1)
	more := func(step time.Duration) {
		t.Helper()
		r.until("done", func() bool { return r.fetches.Load() == n })
		r.idle()
		r.clock.Step(step - time.Millisecond)
		if r.fetches.Load() != n {
			t.Fatalf("fetched before %s", step)
		}
		r.clock.Step(time.Millisecond)
		n++
		r.until("fetched after "+step.String(), func() bool { return r.fetches.Load() == n })
	}
	for _, pause := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 600, 600} {
		more(pause * time.Second)
	}
	if err, fetched := m.State(); err == nil || fetched {
		t.Fatalf("state %v, %v", err, fetched)
	}
	if changed.Load() != 1 {
		t.Errorf("told %d times of the same failure", changed.Load())
	}
	r.idle()
	r.server.Break(gittest.Busy("1800"))
	m.Now(nil)
	more(time.Second)
	r.idle()
	m.Now(nil)
	more(30 * time.Minute)
	r.server.Break(nil)
	more(30 * time.Minute)
	if err, fetched := m.State(); err != nil || !fetched {
		t.Fatalf("state %v, %v", err, fetched)
	}
	more(time.Minute)
}

// TestAPushThatLosesTellsWhatElseHasMoved: it brings the mirror up to date, so
// that the next fetch finds nothing moved; and it lets go of no reference that
// the mirror holds.
func TestAPushThatLosesTellsWhatElseHasMoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.git("-C", "work", "push", "-q", "../remote.git", "main:refs/pull/7/head")
	var changed atomic.Int32
	m, err := r.fetchers.Join(t.Context(), fetch.Target{URL: r.server.HTTPS("remote.git")}, fetch.Options{Interval: time.Hour, Refs: []string{"refs/pull/*/head"},
		Changed: func() { changed.Add(1) }, Done: func(time.Duration, error) { r.fetches.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Leave()
	r.until("fetched", func() bool { return changed.Load() == 1 })
	before, err := m.Repo().Tip("refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	r.git("-C", "work", "push", "-q", "../remote.git", "main:reports")
	r.commit()
	r.git("-C", "work", "push", "-q", "-f", "../remote.git", "main:reports")
	if err := m.PushCommit(t.Context(), "refs/heads/reports", before); !errors.Is(err, repo.ErrRefMoved) {
		t.Fatalf("the push of an old commit says %v", err)
	}
	if n := changed.Load(); n != 2 {
		t.Errorf("told %d times of changes, want once more", n)
	}
	if now, err := m.Repo().Tip("refs/heads/main"); err != nil || now == before {
		t.Errorf("main is at %s (%v), as before", now, err)
	}
	if _, err := m.Repo().Tip("refs/pull/7/head"); err != nil {
		t.Errorf("the pull request has gone: %v", err)
	}
}
