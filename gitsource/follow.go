package gitsource

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"crypto/sha256"
	"encoding/hex"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
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
	push     pushFunc // nil for local repositories
	// pushCommit makes a commit of the mirror the tip of a remote's reference;
	// nil for local repositories.
	pushCommit func(context.Context, *repo.Repository, string, repo.ID) error

	stop    context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex // guards fetchErr
	fetchErr error
	fetched  bool
}

func (f *follower) close() {
	if f == nil {
		return
	}
	f.stop()
	f.running.Wait()
	if f.repo != nil {
		_ = f.repo.Close() // only read from: nothing can be lost
	}
}

// state is the newest error of fetching, and whether one has succeeded ever.
func (f *follower) state() (error, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetchErr, f.fetched
}

// localPath is the path of a repository on this machine, or nothing.
func localPath(address string) string {
	if strings.HasPrefix(address, "/") {
		return address
	}
	if u, err := url.Parse(address); err == nil && u.Scheme == "file" {
		return u.Path
	}
	return ""
}

// follow opens the source's repository and has its references watched, or, for
// a remote one, polled.
func (s *source) follow(ctx context.Context) {
	s.follower.close()
	ctx, stop := context.WithCancel(ctx)
	f := &follower{stop: stop}
	s.follower = f
	if path := localPath(s.object.Spec.URL); path != "" {
		_, absent := os.Lstat(path)
		f.repo, f.err = repo.Open(path)
		s.watchLocal(ctx, f, path, absent != nil)
	} else {
		sum := sha256.Sum256([]byte(s.object.Spec.URL))
		f.repo, f.err = repo.OpenMirror(filepath.Join(s.engine.cfg.DataDir, "mirrors", hex.EncodeToString(sum[:12])+".git"))
		if f.err == nil {
			s.pollRemote(ctx, f)
		}
	}
	if f.repo != nil {
		f.renderer = s.renderer(f.repo, func() (txn.View, error) { return s.engine.cfg.Txn.View(ctx) })
	}
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

// pollRemote fetches at once and then at the source's interval.
func (s *source) pollRemote(ctx context.Context, f *follower) {
	spec := s.object.Spec.DeepCopy()
	remote := func(ctx context.Context) (repo.Remote, error) { return s.remote(ctx, spec) }
	f.push = func(ctx context.Context, r *repo.Repository, ref string) error {
		to, err := remote(ctx)
		if err != nil {
			return err
		}
		return r.Push(ctx, to, ref)
	}
	f.pushCommit = func(ctx context.Context, r *repo.Repository, ref string, id repo.ID) error {
		to, err := remote(ctx)
		if err != nil {
			return err
		}
		return r.PushCommit(ctx, to, ref, id)
	}
	f.running.Go(func() {
		for {
			from, err := remote(ctx)
			if err == nil {
				_, err = f.repo.Fetch(ctx, from)
			}
			if ctx.Err() != nil {
				return
			}
			f.mu.Lock()
			f.fetchErr, f.fetched = err, f.fetched || err == nil
			f.mu.Unlock()
			s.tell(func(p *pending) { p.refs = true })
			select {
			case <-ctx.Done():
				return
			case <-s.engine.cfg.Clock.After(spec.Interval.Duration):
			}
		}
	})
}

// remote gathers what is needed to talk to the source's remote.
func (s *source) remote(ctx context.Context, spec *v1alpha1.GitSourceSpec) (repo.Remote, error) {
	r := repo.Remote{URL: spec.URL, CABundle: spec.CABundle}
	if spec.SecretRef == nil {
		return r, nil
	}
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return r, err
	}
	o, ok := view.Get(txn.Ref{Resource: secrets, Namespace: spec.SecretRef.Namespace, Name: spec.SecretRef.Name})
	secret, typed := o.(*corev1.Secret)
	if !ok || !typed {
		return r, errors.New("the Secret " + spec.SecretRef.Namespace + "/" + spec.SecretRef.Name + " with the credentials does not exist")
	}
	r.Token, r.Username, r.Password = string(secret.Data["token"]), string(secret.Data["username"]), string(secret.Data["password"])
	return r, nil
}
