package repo

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Commit is what a commit object says.
type Commit struct {
	ID, Tree  ID
	Parents   []ID
	Author    string // "Jane Doe <jane@example.org>"
	Committer string
	Time      time.Time // the committer's
	Message   string
}

// Trailers gives the values of a trailer in the last paragraph of the message,
// such as the consents in "Allow-Delete: all".
func (c *Commit) Trailers(key string) []string {
	text := strings.TrimSpace(c.Message)
	if at := strings.LastIndex(text, "\n\n"); at >= 0 {
		text = text[at+2:]
	}
	var values []string
	for line := range strings.SplitSeq(text, "\n") {
		k, v, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(strings.TrimSpace(k), key) {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

// Commit reads a commit.
func (r *Repository) Commit(id ID) (*Commit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commit(id)
}

func (r *Repository) commit(id ID) (*Commit, error) {
	encoded, err := r.storage.EncodedObject(plumbing.CommitObject, plumbing.Hash(id))
	if err != nil {
		r.storage.Reindex()
		encoded, err = r.storage.EncodedObject(plumbing.CommitObject, plumbing.Hash(id))
	}
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", id, err)
	}
	if encoded.Size() > MaxBlob {
		return nil, fmt.Errorf("read commit %s: %w", id, ErrTooLarge)
	}
	c, err := object.DecodeCommit(r.storage, encoded)
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", id, err)
	}
	out := &Commit{
		ID: id, Tree: ID(c.TreeHash), Message: strings.ToValidUTF8(c.Message, "?"), Time: c.Committer.When,
		Author: person(c.Author), Committer: person(c.Committer),
	}
	for _, p := range c.ParentHashes {
		out.Parents = append(out.Parents, ID(p))
	}
	return out, nil
}

func person(s object.Signature) string {
	return strings.ToValidUTF8(s.Name+" <"+s.Email+">", "?")
}

// maxHistory bounds a walk through history.
const maxHistory = 200_000

// IsAncestor tells whether old is new or an ancestor of it.
func (r *Repository) IsAncestor(ctx context.Context, old, new ID) (bool, error) {
	return r.Within(ctx, old, []ID{new})
}

// Within tells whether old is one of some commits or an ancestor of one. Newer
// commits are looked at first, so that the usual answer is near.
func (r *Repository) Within(ctx context.Context, old ID, tips []ID) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen, queue := map[ID]bool{}, &byTime{}
	for _, tip := range tips {
		if seen[tip] {
			continue
		}
		seen[tip] = true
		first, err := r.commit(tip)
		if err != nil {
			return false, err
		}
		heap.Push(queue, first)
	}
	for queue.Len() > 0 {
		c := heap.Pop(queue).(*Commit)
		if c.ID == old {
			return true, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		for _, p := range c.Parents {
			if seen[p] {
				continue
			}
			if len(seen) > maxHistory {
				return false, fmt.Errorf("%s is not among the newest %d commits", old, maxHistory)
			}
			seen[p] = true
			parent, err := r.commit(p)
			if errors.Is(err, plumbing.ErrObjectNotFound) {
				continue // a shallow clone ends here
			}
			if err != nil {
				return false, err
			}
			heap.Push(queue, parent)
		}
	}
	return false, nil
}

// Log gives up to n commits from one on, first parents only.
func (r *Repository) Log(from ID, n int) ([]*Commit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*Commit
	for id := from; len(out) < n; {
		c, err := r.commit(id)
		if err != nil {
			return out, err
		}
		out = append(out, c)
		if len(c.Parents) == 0 {
			break
		}
		id = c.Parents[0]
	}
	return out, nil
}

// byTime is a heap of commits, the newest first.
type byTime []*Commit

func (h byTime) Len() int           { return len(h) }
func (h byTime) Less(i, j int) bool { return h[i].Time.After(h[j].Time) }
func (h byTime) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byTime) Push(c any)        { *h = append(*h, c.(*Commit)) }
func (h *byTime) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
