package repo

import (
	"container/heap"
	"context"
	"fmt"
	"path"
)

// maxNews is how many commits may be new at once where each is looked at.
const maxNews = 10_000

// News gives the commits that come with new and did not come with old, the
// newest first.
func (r *Repository) News(ctx context.Context, old, new ID) ([]*Commit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := map[ID]bool{} // of what is in the queue, whether old has it
	queue := &byTime{}
	add := func(id ID, isOld bool) error {
		was, seen := known[id]
		known[id] = was || isOld
		if seen {
			return nil
		}
		c, err := r.commit(id)
		if err == nil {
			heap.Push(queue, c)
		}
		return err
	}
	if err := add(old, true); err != nil {
		return nil, err
	}
	if err := add(new, false); err != nil {
		return nil, err
	}
	var found []*Commit
	for queue.Len() > 0 && !allOld(*queue, known) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c := heap.Pop(queue).(*Commit)
		if !known[c.ID] {
			found = append(found, c)
		}
		if len(found) > maxNews {
			return nil, fmt.Errorf("more than %d new commits: %w", maxNews, ErrTooLarge)
		}
		for _, p := range c.Parents {
			if err := add(p, known[c.ID]); err != nil {
				return nil, err
			}
		}
	}
	// What turned out to be old after it was found, because clocks differ.
	kept := found[:0]
	for _, c := range found {
		if !known[c.ID] {
			kept = append(kept, c)
		}
	}
	return kept, nil
}

func allOld(queue byTime, known map[ID]bool) bool {
	for _, c := range queue {
		if !known[c.ID] {
			return false
		}
	}
	return true
}

// Touched gives the files that a commit changes: of a merge, those that are as
// in none of its parents.
func (r *Repository) Touched(ctx context.Context, c *Commit) ([]string, error) {
	if len(c.Parents) == 0 {
		return r.differ(ctx, ID{}, c.Tree)
	}
	counts := map[string]int{}
	var order []string
	for _, id := range c.Parents {
		parent, err := r.Commit(id)
		if err != nil {
			return nil, err
		}
		names, err := r.differ(ctx, parent.Tree, c.Tree)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if counts[name]++; counts[name] == len(c.Parents) {
				order = append(order, name)
			}
		}
	}
	return order, nil
}

// Differ gives the files in which two commits differ.
func (r *Repository) Differ(ctx context.Context, a, b *Commit) ([]string, error) {
	return r.differ(ctx, a.Tree, b.Tree)
}

// differ gives the files in which two trees differ; a zero ID is no tree.
func (r *Repository) differ(ctx context.Context, a, b ID) ([]string, error) {
	var names []string
	err := r.differBelow(ctx, a, b, "", 0, &names)
	return names, err
}

func (r *Repository) differBelow(ctx context.Context, a, b ID, dir string, depth int, names *[]string) error {
	if a == b {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("directories deeper than %d: %w", maxDepth, ErrTooLarge)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	before, err := r.byName(a)
	if err != nil {
		return err
	}
	after, err := r.byName(b)
	if err != nil {
		return err
	}
	for name, was := range before {
		if err := r.differEntry(ctx, was, after[name], path.Join(dir, name), depth, names); err != nil {
			return err
		}
	}
	for name, is := range after {
		if _, ok := before[name]; ok {
			continue
		}
		if err := r.differEntry(ctx, Entry{}, is, path.Join(dir, name), depth, names); err != nil {
			return err
		}
	}
	return nil
}

// differEntry compares one name; a zero Entry is nothing.
func (r *Repository) differEntry(ctx context.Context, was, is Entry, name string, depth int, names *[]string) error {
	if was == is {
		return nil
	}
	part := func(e Entry) (tree ID, file bool) {
		if e.Mode == Dir {
			return e.ID, false
		}
		return ID{}, !e.ID.IsZero()
	}
	treeWas, fileWas := part(was)
	treeIs, fileIs := part(is)
	if fileWas || fileIs {
		*names = append(*names, name)
	}
	return r.differBelow(ctx, treeWas, treeIs, name, depth+1, names)
}

// byName reads a tree. A name that is refused is left out: nobody reads it.
func (r *Repository) byName(id ID) (map[string]Entry, error) {
	if id.IsZero() {
		return nil, nil
	}
	entries, _, err := r.Tree(id)
	if err != nil {
		return nil, err
	}
	all := make(map[string]Entry, len(entries))
	for _, e := range entries {
		all[e.Name] = e
	}
	return all, nil
}
