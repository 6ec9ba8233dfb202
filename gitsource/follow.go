package gitsource

import (
	"context"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/fetch"
	"github.com/headway-sh/headway/gitsource/hosted"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/gitsource/watch"
	"github.com/headway-sh/headway/internal/failpoint"
)

type pushFunc = func(context.Context, *repo.Repository, string) error

// follower is an open repository and who tells when it changes.
type follower struct {
	repo     *repo.Repository // nil when it could not be opened
	err      error            // why not
	renderer *render.Renderer
	looking  looking
	planners planners
	push     pushFunc      // nil for what lies on this machine
	member   *fetch.Member // nil for what is read where it lies
	bundle   bool          // the member is of a bundle, and has all of it
	// pushCommit makes a commit of the mirror the tip of a remote's reference;
	// nil for what lies on this machine.
	pushCommit func(context.Context, *repo.Repository, string, repo.ID) error

	stop    context.CancelFunc
	running sync.WaitGroup
}

func (f *follower) close() {
	if f == nil {
		return
	}
	f.stop()
	f.running.Wait()
	switch {
	case f.member != nil:
		f.member.Leave()
	case f.repo != nil:
		_ = f.repo.Close() // only read from: nothing can be lost
	}
}

// state is the newest error of fetching, and whether one has succeeded ever.
func (f *follower) state() (err error, fetched bool) {
	if f.member == nil {
		return nil, true
	}
	return f.member.State()
}

// localPath is the path of a repository on this machine, or nothing.
func (e *Engine) localPath(address string) string {
	if path := hosted.Path(e.cfg.DataDir, address); path != "" {
		return path
	}
	if strings.HasPrefix(address, "/") {
		return address
	}
	if u, err := url.Parse(address); err == nil && u.Scheme == "file" {
		return u.Path
	}
	return ""
}

// open opens a repository on this machine. One that the engine keeps itself is
// made when it is not there.
func (e *Engine) open(path string) (*repo.Repository, error) {
	if strings.HasPrefix(path, hosted.Dir(e.cfg.DataDir)+"/") {
		return repo.OpenMirror(path)
	}
	return repo.Open(path)
}

// follow opens the source's repository and has its references watched, or, for
// a remote one, fetched.
func (s *source) follow(ctx context.Context) {
	s.follower.close()
	ctx, stop := context.WithCancel(ctx)
	f := &follower{stop: stop}
	s.follower = f
	path := s.engine.localPath(s.object.Spec.URL)
	switch {
	case path == "":
		s.join(ctx, f, fetch.Target{URL: s.object.Spec.URL, CABundle: string(s.object.Spec.CABundle), Fallback: s.object.Spec.Fallback})
		if f.member != nil {
			f.push = func(ctx context.Context, _ *repo.Repository, ref string) error { return f.member.Push(ctx, ref) }
			f.pushCommit = func(ctx context.Context, _ *repo.Repository, ref string, id repo.ID) error {
				return f.member.PushCommit(ctx, ref, id)
			}
		}
	case repo.IsBundle(path):
		s.join(ctx, f, fetch.Target{URL: path, Bundle: true})
		s.watchBundle(ctx, f, path)
	default:
		_, absent := os.Lstat(path)
		f.repo, f.err = s.engine.open(path)
		s.watchLocal(ctx, f, path, absent != nil)
	}
	if s.object != nil {
		s.announce(nil, s.object, 0)
	}
	if f.repo != nil {
		f.renderer = s.renderer(f.repo, func() (txn.View, error) { return s.engine.cfg.Txn.View(ctx) }, &f.looking)
	}
}

// join has a target fetched into a mirror that other sources may share.
func (s *source) join(ctx context.Context, f *follower, t fetch.Target) {
	spec := &s.object.Spec
	if spec.SecretRef != nil && !t.Bundle {
		t.Secret = *spec.SecretRef
	}
	// What was pushed after a fetch has begun may not be in it.
	var began atomic.Int64
	f.member, f.err = s.engine.fetchers.Join(ctx, t, fetch.Options{
		Interval: spec.Interval.Duration, Refs: readRefs(spec),
		Changed: func() { s.tell(func(p *pending) { p.refs = true }) },
		Began:   func() { began.Store(s.engine.claims.tick()) },
		Done: func(took time.Duration, err error) {
			s.engine.cfg.Metrics.fetched(s.name, s.now(), took, err)
			s.engine.claims.change(s.name, func(c *claim) bool {
				c.asked = began.Load()
				return true
			})
			s.engine.tellOthers(s.name)
		},
	})
	f.bundle = t.Bundle
	if f.err == nil {
		f.repo = f.member.Repo()
	}
}

// readRefs are the references that a spec names beside branches and tags.
func readRefs(spec *v1alpha1.GitSourceSpec) []string {
	refs := slices.Clone(spec.Previews.Refs)
	if e := spec.Previews.Environments; e != nil {
		refs = append(refs, e.Refs...)
	}
	if name := spec.Ref.Name; name != "" {
		refs = append(refs, name)
	}
	return slices.DeleteFunc(refs, repo.IsAlwaysMirrored)
}

// heldRef tells whether the mirror has a reference if the remote does. If not,
// it is asked for, and then is called when it has come.
func (f *follower) heldRef(ref v1alpha1.GitReference, then func()) bool {
	if ref.Name == "" || f.member == nil || f.bundle || repo.IsAlwaysMirrored(ref.Name) {
		return true
	}
	return f.member.Include(ref.Name, then)
}

// watchBundle has a bundle read again when it changes; one that goes is waited
// for, while what was read of it stays.
func (s *source) watchBundle(ctx context.Context, f *follower, path string) {
	changed := func() {
		if f.member != nil {
			f.member.Now(nil)
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			s.tell(func(p *pending) { p.refs, p.opened = true, true })
		}
	}
	f.running.Go(func() {
		if err := watch.File(ctx, path, changed, changed); err != nil {
			s.log.Error("changes of the bundle are not seen", "error", err)
		}
	})
}

// watchLocal tells the source when references move, and when a repository that
// is missing may have come. absent says that nothing was at the path before it
// was opened.
func (s *source) watchLocal(ctx context.Context, f *follower, path string, absent bool) {
	gitDir, commonDir := path, path
	if f.repo != nil {
		gitDir, commonDir = f.repo.Dirs()
	}
	missing := f.repo == nil
	f.running.Go(func() {
		changed := func() {
			s.tell(func(p *pending) { p.refs, p.opened = true, p.opened || missing })
		}
		ready := func() {
			// What came after it was looked for and before it was watched for
			// tells of itself no more.
			_, gone := os.Lstat(path)
			s.tell(func(p *pending) { p.refs, p.opened = true, p.opened || absent && gone == nil })
		}
		if failpoint.Hit(ctx, "gitsource.watch.before") != nil {
			return
		}
		if err := watch.Refs(ctx, gitDir, commonDir, ready, changed); err != nil {
			s.log.Error("pushes are not seen", "error", err)
		}
	})
}
