package gitsource

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/chartrepo"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/fetch"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/rendered"
	"github.com/headway-sh/headway/gitsource/report"
)

var (
	gitSources = v1alpha1.Resource("gitsources")
	releases   = v1alpha1.Resource("releases")
	plans      = v1alpha1.Resource("plans")
	secrets    = schema.GroupResource{Resource: "secrets"}
)

// Engine runs all sources of a cluster. New, then Run once.
type Engine struct {
	cfg     Config
	applier *apply.Applier
	// rendered keeps the objects of applied commits.
	rendered *rendered.Store
	// charts are what came from repositories of charts.
	charts *chartrepo.Store
	owners *owners
	claims *claims
	// fetchers are shared by the sources.
	fetchers *fetch.Fetchers
	// dependents are the sources that wait for objects.
	dependents dependents
	// lookups are what charts have looked up.
	lookups lookups
	// applying is held while a commit is planned and written, so that two
	// sources cannot both be the first to claim an object.
	applying sync.Mutex

	mu       sync.Mutex // guards all below
	sources  map[string]*source
	ended    map[string]<-chan struct{} // of sources that were deleted
	branches map[string]*report.Branch
	changed  map[string]bool // GitSources to be looked at
	wake     chan struct{}

	workers sync.WaitGroup
}

// New makes an Engine.
func New(cfg Config) (*Engine, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	kept, err := rendered.Open(filepath.Join(cfg.DataDir, "rendered"), cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("gitsource: %w", err)
	}
	e := &Engine{
		cfg: cfg, rendered: kept, owners: newOwners(), claims: newClaims(), sources: map[string]*source{}, ended: map[string]<-chan struct{}{}, branches: map[string]*report.Branch{},
		changed: map[string]bool{}, wake: make(chan struct{}, 1),
		applier: &apply.Applier{Txn: cfg.Txn, Identity: cfg.Identity},
	}
	e.charts = chartrepo.Open(filepath.Join(cfg.DataDir, "charts"))
	e.fetchers = fetch.New(fetch.Config{Dir: filepath.Join(cfg.DataDir, "mirrors"), Remote: e.remote, Clock: cfg.Clock, Logger: cfg.Logger})
	return e, nil
}

// Run follows all GitSources until the context ends, and waits for everything
// it has started. It returns txn.ErrEpoch when another engine has taken over.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer e.workers.Wait()
	defer cancel(nil)
	epoch, err := e.cfg.Txn.Acquire(ctx, EpochName)
	if err != nil {
		return fmt.Errorf("acquire %s: %w", EpochName, err)
	}
	e.applier.Epoch = epoch
	if err := e.load(ctx); err != nil {
		return err
	}
	defer e.cfg.Txn.Guard(&drift.Guard{Self: e.cfg.Identity.Name, Inventories: e.owners, Clock: e.cfg.Clock})()
	defer e.cfg.Txn.Observe(e.observe)()
	if e.cfg.Observing != nil {
		e.cfg.Observing()
	}
	view, err := e.cfg.Txn.View(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	for o := range view.Each(gitSources, "") {
		e.touch(o.GetName())
	}
	for {
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
				return cause // of a worker
			}
			return nil
		case <-e.wake:
			if err := e.reconcile(ctx, cancel); err != nil {
				return err
			}
		}
	}
}

// load learns who owns what before anybody writes.
func (e *Engine) load(ctx context.Context) error {
	notes, err := e.cfg.Txn.Notes(ctx, plan.Prefix)
	if err != nil {
		return fmt.Errorf("read inventories: %w", err)
	}
	inventories, err := plan.Load(notes)
	if err != nil {
		return err
	}
	for name, i := range inventories {
		e.owners.replace(name, plan.NewInventory(), i)
	}
	return nil
}

// touch has a GitSource looked at.
func (e *Engine) touch(name string) {
	e.mu.Lock()
	e.changed[name] = true
	e.mu.Unlock()
	poke(e.wake)
}

func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default: // it is awake already
	}
}

// reconcile starts, tells and stops workers.
func (e *Engine) reconcile(ctx context.Context, fail context.CancelCauseFunc) error {
	view, err := e.cfg.Txn.View(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for name := range e.changed {
		delete(e.changed, name)
		o, ok := view.Get(txn.Ref{Resource: gitSources, Name: name})
		running := e.sources[name]
		switch {
		case !ok && running == nil:
		case !ok:
			running.mu.Lock()
			running.gone = true
			running.mu.Unlock()
			running.cancel()
			e.ended[name] = running.done
			delete(e.sources, name)
			e.dependents.wait(name, nil)
			e.dependents.follow(name, txn.Ref{})
			e.lookups.set(name, nil)
			e.claims.forget(name)
			for _, other := range e.sources { // which may wait for it
				other.tell(func(p *pending) { p.moved = true })
			}
			e.cfg.Metrics.forget(name)
		case running == nil:
			s := newSource(e, name, e.ended[name])
			e.sources[name] = s
			workerCtx, stop := context.WithCancel(ctx)
			s.cancel = stop
			e.workers.Add(1)
			go func() {
				defer e.workers.Done()
				if err := s.run(workerCtx, ctx); err != nil {
					fail(err)
				}
			}()
			s.tell(func(p *pending) { p.object, p.all = o.(*v1alpha1.GitSource), true })
		default:
			running.tell(func(p *pending) { p.object = o.(*v1alpha1.GitSource) })
		}
	}
	return nil
}

// observe hands a write to whom it concerns. It must not block.
func (e *Engine) observe(w txn.Write) {
	if w.Ref == (txn.Ref{}) {
		e.everything() // something was missed
		return
	}
	for _, name := range e.dependents.of(w.Ref) {
		e.told(name, func(p *pending) { p.refs = true })
	}
	for _, name := range e.lookups.of(w.Ref) {
		e.told(name, func(p *pending) { p.look(w) })
	}
	switch w.Ref.Resource {
	case gitSources:
		e.environment(w)
		switch w.Subresource {
		case "status":
		case v1alpha1.SubresourceApproval:
			e.told(w.Ref.Name, func(p *pending) { p.approved = true })
		default:
			e.override(w)
			e.touch(w.Ref.Name)
		}
		return
	case plans:
		if p, ok := w.After.(*v1alpha1.Plan); ok && w.Before == nil {
			e.told(p.Spec.Source, func(pend *pending) { pend.plans = append(pend.plans, p.Name) })
		}
		return
	case releases:
		// What this engine itself deletes is old, and nobody asks for it again.
		if r, ok := w.Before.(*v1alpha1.Release); ok && w.After == nil && w.Identity.Name != e.cfg.Identity.Name {
			e.told(r.Spec.Source, func(p *pending) { p.forgiven = append(p.forgiven, r.Name) })
		}
		return
	}
	if name, ok := e.owners.source(w.Ref); ok {
		e.told(name, func(p *pending) { p.write(w) })
	}
	if name, ok := e.owners.expected(w.Ref); ok {
		e.told(name, func(p *pending) { p.write(w) })
	}
	for _, name := range e.owners.watchers(w.Ref) {
		e.told(name, func(p *pending) { p.hooks = append(p.hooks, w) })
	}
}

// environment tells a source how one of its environments is.
func (e *Engine) environment(w txn.Write) {
	for _, o := range []txn.Object{w.Before, w.After} {
		if o, ok := o.(*v1alpha1.GitSource); ok && o.Spec.Environment != nil {
			e.told(o.Spec.Environment.Source, func(p *pending) { p.environs = true })
			return
		}
	}
}

func (e *Engine) told(name string, f func(*pending)) {
	e.mu.Lock()
	s := e.sources[name]
	e.mu.Unlock()
	if s != nil {
		s.tell(f)
	}
}

func (e *Engine) everything() {
	e.mu.Lock()
	names := make([]string, 0, len(e.sources))
	for name, s := range e.sources {
		names = append(names, name)
		s.tell(func(p *pending) { p.all, p.relook = true, true })
	}
	e.mu.Unlock()
	for _, name := range names {
		e.touch(name)
	}
}

// branch gives the report branch of a repository that several sources share.
func (e *Engine) branch(url, name string) *report.Branch {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := url + "\n" + name
	b := e.branches[key]
	if b == nil {
		b = report.NewBranch(e.cfg.ClusterName, e.cfg.ClusterUID, name)
		e.branches[key] = b
	}
	return b
}
