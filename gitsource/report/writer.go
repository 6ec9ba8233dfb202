package report

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/failpoint"
)

// Interval is how far apart reports are that are not final.
const Interval = 10 * time.Second

// ErrForeign says that a report branch belongs to somebody else.
var ErrForeign = errors.New("the report branch is not this cluster's")

// Branch is one report branch of one repository, and the sources that are
// reported on it. It is safe for concurrent use.
type Branch struct {
	ref     string
	state   State
	mu      sync.Mutex // guards all below, and one write at a time
	sources map[string]Source
	commits commitBlobs
	tip     repo.ID
	pushed  repo.ID // the tip that the remote is known to have
}

// Place is where a branch is written.
type Place struct {
	Repo *repo.Repository
	// Push, when not nil, brings the branch from the mirror to its remote.
	Push func(context.Context, *repo.Repository, string) error
}

// NewBranch makes a branch.
func NewBranch(cluster, uid, branch string) *Branch {
	return &Branch{ref: "refs/heads/" + branch, state: State{Cluster: cluster, ClusterUID: uid}, sources: map[string]Source{}}
}

// Publish notes a source's state and writes the report if it says anything
// new. releases are those of any sources; what the branch's own sources have
// tried gets a page. It gives the branch's tip.
func (b *Branch) Publish(ctx context.Context, at Place, s Source, releases []*v1alpha1.Release, now time.Time) (repo.ID, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sources[s.Name] = s
	return b.publish(ctx, at, subject(&s), releases, now)
}

// Retract takes a source out of the report and writes it, as Publish does.
func (b *Branch) Retract(ctx context.Context, at Place, source string, releases []*v1alpha1.Release, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.sources[source]; !ok {
		return nil
	}
	delete(b.sources, source)
	_, err := b.publish(ctx, at, source+": no longer followed", releases, now)
	return err
}

func (b *Branch) publish(ctx context.Context, at Place, subject string, releases []*v1alpha1.Release, now time.Time) (repo.ID, error) {
	state := b.state
	state.Sources = []Source{}
	for _, s := range b.sources {
		state.Sources = append(state.Sources, s)
	}
	slices.SortFunc(state.Sources, func(x, y Source) int { return strings.Compare(x.Name, y.Name) })
	tried := newCommits(releases, func(source string) bool { _, ours := b.sources[source]; return ours })
	files, err := Files(state, tried)
	if err != nil {
		return repo.ID{}, err
	}
	for range 3 {
		err = b.write(ctx, at, files, tried, subject, now)
		if !errors.Is(err, repo.ErrRefMoved) {
			break
		}
	}
	if err != nil {
		return b.tip, fmt.Errorf("report to %s: %w", b.ref, err)
	}
	return b.tip, nil
}

// Forget takes a source out of the report; the next Publish or Retract shows
// it.
func (b *Branch) Forget(source string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sources, source)
}

func (b *Branch) write(ctx context.Context, at Place, files map[string][]byte, tried *Commits, subject string, now time.Time) error {
	r := at.Repo
	tip, err := r.Tip(b.ref)
	if err != nil {
		return err
	}
	if !tip.IsZero() {
		old, err := r.FileAt(tip, "status.json")
		if err != nil {
			return err
		}
		if uid := UID(old); uid != b.state.ClusterUID {
			return fmt.Errorf("%w: it has the cluster UID %q; give this cluster another name, or delete the branch", ErrForeign, uid)
		}
	}
	if tip != b.tip {
		b.commits = nil // what is known to be in the repository is so because of the tip
		b.tip = tip
	}
	tree, err := b.tree(r, files, tried)
	if err != nil {
		return err
	}
	if !tip.IsZero() {
		c, err := r.Commit(tip)
		if err != nil {
			return err
		}
		if c.Tree == tree { // nothing new to say, but it may not have been said
			return b.push(ctx, at, tip)
		}
	}
	if err := failpoint.Hit(ctx, "gitsource.report.before"); err != nil {
		return err
	}
	id, err := r.Write(repo.NewCommit{
		Parent: tip, Tree: tree, Name: "headway " + b.state.Cluster, Email: "headway@" + b.state.Cluster,
		Time: now, Message: subject + "\n\n[skip ci]",
	})
	if err != nil {
		return err
	}
	if err := r.Update(b.ref, tip, id); err != nil {
		return err
	}
	b.tip = id
	return b.push(ctx, at, id)
}

// push brings the branch to its remote, unless that has it.
func (b *Branch) push(ctx context.Context, at Place, tip repo.ID) error {
	if at.Push == nil || b.pushed == tip {
		return nil
	}
	if err := at.Push(ctx, at.Repo, b.ref); err != nil {
		return err
	}
	b.pushed = tip
	return nil
}

// tree writes all files and gives the root.
func (b *Branch) tree(r *repo.Repository, files map[string][]byte, tried *Commits) (repo.ID, error) {
	blobs, known, err := tried.write(r, b.commits)
	if err != nil {
		return repo.ID{}, err
	}
	for name, content := range files {
		if blobs[name], err = r.WriteBlob(content); err != nil {
			return repo.ID{}, err
		}
	}
	b.commits = known
	return r.WriteTree(blobs)
}

func subject(s *Source) string {
	out := s.Name + ": " + s.Sync + ", " + s.Health
	if s.Applied != nil {
		out += " at " + s.Applied.ID[:min(12, len(s.Applied.ID))]
	}
	return out
}
