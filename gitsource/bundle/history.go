package bundle

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/headway-sh/headway/gitsource/repo"
)

// CheckHistory takes the history of a bundle in beside a repository, nil for
// one that is yet to be made, and tells whether its branch could go to the
// bundle's commit without losing one; there says that it is there, or beyond it,
// already. The repository is not changed, and scratch is left to the caller to
// remove.
func (b *Bundle) CheckHistory(ctx context.Context, into *repo.Repository, history, scratch string) (beside *repo.Repository, there bool, err error) {
	beside, err = repo.OpenScratch(scratch, into)
	if err != nil {
		return nil, false, err
	}
	if there, err = b.checkHistory(ctx, into, beside, history); err != nil {
		_ = beside.Close() // only read from
		return nil, false, err
	}
	return beside, there, nil
}

func (b *Bundle) checkHistory(ctx context.Context, into, beside *repo.Repository, history string) (there bool, err error) {
	refs, err := store(ctx, beside, history)
	if err != nil {
		return false, err
	}
	commit, err := repo.ParseID(b.Manifest.Commit)
	if err != nil {
		return false, err
	}
	if refs[b.branch()] != commit {
		return false, fmt.Errorf("the bundle's history does not end with commit %s", commit)
	}
	if into == nil {
		return false, nil
	}
	tip, err := into.Tip(b.branch())
	if err != nil || tip.IsZero() {
		return false, err
	}
	if there, err = beside.IsAncestor(ctx, commit, tip); err != nil || there {
		return there, err
	}
	onward, err := beside.IsAncestor(ctx, tip, commit)
	if err == nil && !onward {
		err = fmt.Errorf("branch %s is at %.12s here, which is not before %.12s: taking the bundle would lose commits", b.Manifest.Source.Branch, tip, commit)
	}
	return false, err
}

// TakeHistory takes the history that CheckHistory has looked at into a
// repository, and moves its branch, with git's own locks, to the commit. Tags
// that are there stay where they are.
func (b *Bundle) TakeHistory(ctx context.Context, into *repo.Repository, history string) error {
	refs, err := store(ctx, into, history)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		if !strings.HasPrefix(name, "refs/tags/") {
			continue
		}
		if old, err := into.Tip(name); err != nil {
			return err
		} else if old.IsZero() {
			if err := into.Update(name, old, refs[name]); err != nil {
				return err
			}
		}
	}
	tip, err := into.Tip(b.branch())
	if err != nil {
		return err
	}
	commit := refs[b.branch()]
	if !tip.IsZero() {
		// It may have been pushed to since it was looked at.
		onward, err := into.IsAncestor(ctx, tip, commit)
		if err != nil {
			return err
		}
		if !onward {
			return fmt.Errorf("branch %s has moved to %.12s meanwhile: %w", b.Manifest.Source.Branch, tip, repo.ErrRefMoved)
		}
	}
	return into.Update(b.branch(), tip, commit)
}

func (b *Bundle) branch() string { return "refs/heads/" + b.Manifest.Source.Branch }

func store(ctx context.Context, into *repo.Repository, history string) (map[string]repo.ID, error) {
	f, err := os.Open(history)
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	defer f.Close()
	return into.StoreBundle(ctx, &ending{io.Reader(f), ctx})
}
