package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
)

// Set is a group of people who may sign what lies below a path.
type Set struct {
	Path  string // empty: everything
	Keys  *Keys
	Names []string
}

// Policy is whose signatures count.
type Policy struct {
	Mode v1alpha1.VerificationMode
	Sets []Set
}

// Refusal says which commit or tag is not signed as it must be, and why.
type Refusal struct {
	What   string // "commit 1a2b… (Jane Doe <jane@example.org>)"
	Reason string
}

func (r *Refusal) Error() string { return r.What + " " + r.Reason }

// AsRefusal gives the refusal in an error, or nil.
func AsRefusal(err error) *Refusal {
	var r *Refusal
	errors.As(err, &r)
	return r
}

// Verify looks at a commit that was found under a reference; last is the one
// that was believed before, zero for none. It gives who has signed it. The
// error is a Refusal unless the repository could not be read.
func (p *Policy) Verify(ctx context.Context, r *repo.Repository, ref string, id, last repo.ID, now time.Time) (signer string, err error) {
	if p.Mode != v1alpha1.VerifyHead {
		what := "tag " + strings.TrimPrefix(ref, "refs/tags/")
		signed, err := r.SignedTag(ref, id)
		if err != nil {
			return "", &Refusal{what, "cannot be believed: " + err.Error()}
		}
		if signer, err = p.check(signed, p.root(), now); err != nil {
			return "", &Refusal{what, err.Error()}
		}
		if p.Mode == v1alpha1.VerifyTag {
			return signer, nil
		}
	}
	head, err := r.Commit(id)
	if err != nil {
		return "", err
	}
	if !p.byPath() || last.IsZero() {
		return p.commit(r, head, p.root(), now)
	}
	news, err := r.News(ctx, last, id)
	if err != nil {
		return "", err
	}
	for i := len(news) - 1; i >= 0; i-- {
		if signer, err = p.ofPaths(ctx, r, news[i], now); err != nil {
			return "", err
		}
	}
	if len(news) == 0 { // it is the one that was believed
		return p.commit(r, head, p.Sets, now)
	}
	return signer, nil
}

// ofPaths wants a commit signed by somebody of each part that it changes.
func (p *Policy) ofPaths(ctx context.Context, r *repo.Repository, c *repo.Commit, now time.Time) (signer string, err error) {
	files, err := r.Touched(ctx, c)
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return p.commit(r, c, p.Sets, now)
	}
	done := map[string]bool{}
	for _, file := range files {
		path, sets := p.owners(file)
		if done[path] {
			continue
		}
		done[path] = true
		if len(sets) == 0 {
			return "", &Refusal{named(c), fmt.Sprintf("changes %s, for which nobody may sign", file)}
		}
		if signer, err = p.commit(r, c, sets, now); err != nil {
			if refusal := AsRefusal(err); refusal != nil {
				refusal.Reason = fmt.Sprintf("changes %s and %s", file, refusal.Reason)
			}
			return "", err
		}
	}
	return signer, nil
}

// owners gives the sets of the deepest path that a file lies below.
func (p *Policy) owners(file string) (path string, sets []Set) {
	for _, s := range p.Sets {
		below := s.Path == "" || s.Path == "." || file == s.Path || strings.HasPrefix(file, s.Path+"/")
		switch {
		case !below || len(sets) > 0 && len(s.Path) < len(path):
		case len(sets) > 0 && s.Path == path:
			sets = append(sets, s)
		default:
			path, sets = s.Path, []Set{s}
		}
	}
	return path, sets
}

func (p *Policy) byPath() bool {
	return slices.ContainsFunc(p.Sets, func(s Set) bool { return s.Path != "" && s.Path != "." })
}

// root are the sets without a path, or all where every one has a path.
func (p *Policy) root() []Set {
	var root []Set
	for _, s := range p.Sets {
		if s.Path == "" || s.Path == "." {
			root = append(root, s)
		}
	}
	if root == nil {
		return p.Sets
	}
	return root
}

func (p *Policy) commit(r *repo.Repository, c *repo.Commit, sets []Set, now time.Time) (string, error) {
	signed, err := r.SignedCommit(c.ID)
	if err != nil {
		return "", &Refusal{named(c), "cannot be believed: " + err.Error()}
	}
	signer, err := p.check(signed, sets, now)
	if err != nil {
		return "", &Refusal{named(c), err.Error()}
	}
	return signer, nil
}

// check gives who has signed, of any of the sets.
func (p *Policy) check(signed *repo.Signed, sets []Set, now time.Time) (signer string, err error) {
	err = ErrUnsigned
	for _, s := range sets {
		var why error
		if signer, why = s.Keys.Check(signed.Payload, signed.Signature, s.Names, now); why == nil {
			return signer, nil
		}
		err = why
	}
	return "", err
}

func named(c *repo.Commit) string { return fmt.Sprintf("commit %.12s (%s)", c.ID, c.Author) }
