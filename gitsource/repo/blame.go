package repo

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/utils/diff"
	"github.com/sergi/go-diff/diffmatchpatch"
)

// Blame gives for each line of a file, as it is in a commit, the commit that
// has put it there. A file that was renamed unchanged is followed; where a
// shallow clone ends, the last commit that is there stands for those before.
func (r *Repository) Blame(ctx context.Context, commit ID, file string) ([]*Commit, error) {
	c, err := r.Commit(commit)
	if err != nil {
		return nil, err
	}
	first := &suspect{commit: c, file: file, lines: map[int][]int{}}
	if first.blob, err = r.blobAt(c, file); err != nil {
		return nil, err
	}
	if first.blob.IsZero() {
		return nil, fmt.Errorf("%s in %.12s: %w", file, commit, ErrNoFile)
	}
	content, err := r.Blob(first.blob)
	if err != nil {
		return nil, err
	}
	b := &blame{repo: r, all: map[suspectKey]*suspect{}, found: make([]*Commit, lineCount(string(content)))}
	for i := range b.found {
		first.lines[i] = []int{i}
	}
	b.add(first)
	for n := 0; b.queue.Len() > 0; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if n > maxHistory {
			return nil, fmt.Errorf("blame %s: more than %d commits: %w", file, maxHistory, ErrTooLarge)
		}
		s := heap.Pop(&b.queue).(*suspect)
		delete(b.all, s.key())
		if err := b.ask(ctx, s); err != nil {
			return nil, fmt.Errorf("blame %s: %w", file, err)
		}
	}
	return b.found, nil
}

// suspect is a file of a commit that some lines may come from.
type suspect struct {
	commit *Commit
	file   string
	blob   ID
	lines  map[int][]int // its lines → those of the file that is asked about
}

type suspectKey struct {
	commit ID
	file   string
}

func (s *suspect) key() suspectKey { return suspectKey{s.commit.ID, s.file} }

// blame is one question.
type blame struct {
	repo  *Repository
	queue suspects
	all   map[suspectKey]*suspect // in the queue
	found []*Commit
}

func (b *blame) add(s *suspect) {
	have := b.all[s.key()]
	if have == nil {
		b.all[s.key()] = s
		heap.Push(&b.queue, s)
		return
	}
	for line, from := range s.lines {
		have.lines[line] = append(have.lines[line], from...)
	}
}

// ask hands the lines that a parent has on to it; the others are the commit's.
func (b *blame) ask(ctx context.Context, s *suspect) error {
	var parents []*suspect
	for _, id := range s.commit.Parents {
		p, err := b.parent(ctx, s, id)
		switch {
		case err != nil:
			return err
		case p == nil:
		case p.blob == s.blob:
			p.lines = s.lines
			b.add(p)
			return nil
		default:
			parents = append(parents, p)
		}
	}
	for _, p := range parents {
		if err := b.share(s, p); err != nil {
			return err
		}
	}
	for _, from := range s.lines {
		for _, i := range from {
			b.found[i] = s.commit
		}
	}
	return nil
}

// parent is the file in a parent, or nil where there is none.
func (b *blame) parent(ctx context.Context, s *suspect, id ID) (*suspect, error) {
	c, err := b.repo.Commit(id)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, nil // a shallow clone ends here
	}
	if err != nil {
		return nil, err
	}
	p := &suspect{commit: c, file: s.file, lines: map[int][]int{}}
	if p.blob, err = b.repo.blobAt(c, s.file); err != nil || !p.blob.IsZero() {
		return p, err
	}
	names, err := b.repo.differ(ctx, c.Tree, s.commit.Tree)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if blob, err := b.repo.blobAt(c, name); err == nil && blob == s.blob {
			p.file, p.blob = name, blob
			return p, nil
		}
	}
	return nil, nil
}

// share takes the lines from a suspect that its parent has as well.
func (b *blame) share(s, p *suspect) error {
	if len(s.lines) == 0 {
		return nil
	}
	before, err := b.repo.Blob(p.blob)
	if err != nil {
		return err
	}
	after, err := b.repo.Blob(s.blob)
	if err != nil {
		return err
	}
	was, is := 0, 0
	for _, d := range diff.Do(string(before), string(after)) {
		n := lineCount(d.Text)
		switch d.Type {
		case diffmatchpatch.DiffDelete:
			was += n
		case diffmatchpatch.DiffInsert:
			is += n
		default:
			for range n {
				if from, ok := s.lines[is]; ok {
					p.lines[was] = from
					delete(s.lines, is)
				}
				was, is = was+1, is+1
			}
		}
	}
	if len(p.lines) > 0 {
		b.add(p)
	}
	return nil
}

// blobAt is the file of a commit, or zero when there is none.
func (r *Repository) blobAt(c *Commit, file string) (ID, error) {
	_, e, err := r.Lookup(func(id ID) ([]Entry, error) {
		entries, _, err := r.Tree(id)
		return entries, err
	}, c.Tree, file)
	if errors.Is(err, ErrNoFile) || err == nil && e.Mode != File {
		return ID{}, nil
	}
	return e.ID, err
}

func lineCount(text string) int {
	n := strings.Count(text, "\n")
	if text != "" && !strings.HasSuffix(text, "\n") {
		n++
	}
	return n
}

// suspects is a heap, the newest commit first.
type suspects []*suspect

func (h suspects) Len() int           { return len(h) }
func (h suspects) Less(i, j int) bool { return h[i].commit.Time.After(h[j].commit.Time) }
func (h suspects) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *suspects) Push(s any)        { *h = append(*h, s.(*suspect)) }
func (h *suspects) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
