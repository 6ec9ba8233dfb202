package gitsource

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/repo"
)

// consent is why a plan has to be consented to, and who has done so.
type consent struct {
	why    string // empty: it does not have to
	wanted int32
	given  []v1alpha1.Approval // those that count, of different people, the newest last
	void   []string            // why others do not
	// authors are those whose consent does not count.
	authors []string
	// until is when the first of those that count does so no more; zero: never.
	until time.Time
}

func (c *consent) enough() bool { return len(c.given) >= int(c.wanted) }

func (c *consent) by() string {
	names := make([]string, len(c.given))
	for i, a := range c.given {
		names[i] = a.By
	}
	return strings.Join(names, ", ")
}

func (c *consent) String() string {
	void := ""
	if len(c.void) > 0 && !c.enough() {
		void = "; " + strings.Join(c.void, "; ")
	}
	switch {
	case c.why == "":
		return ""
	case c.enough():
		return fmt.Sprintf("approved by %s: %s", c.by(), c.why)
	case len(c.given) > 0:
		return fmt.Sprintf("has to be approved (%d of %d, by %s): %s%s", len(c.given), c.wanted, c.by(), c.why, void)
	case c.wanted > 1:
		return fmt.Sprintf("has to be approved (by %d): %s%s", c.wanted, c.why, void)
	}
	return "has to be approved: " + c.why + void
}

// consents gathers what counts of the consents to a digest that a View has.
func (s *source) consents(ctx context.Context, view txn.View, digest string, commit repo.ID) (*consent, error) {
	spec := &s.object.Spec.Approval
	c := &consent{wanted: max(1, spec.Count)}
	if spec.NotAuthor {
		var err error
		if c.authors, err = s.authors(ctx, commit); err != nil {
			return nil, err
		}
	}
	now, by := s.now(), map[string]bool{}
	for _, a := range slices.Backward(s.approvals(view)) {
		if a.Digest != digest || by[a.By] {
			continue
		}
		by[a.By] = true
		until, counts := spec.Counts(&a, now)
		author := slices.IndexFunc(c.authors, func(named string) bool { return v1alpha1.SamePerson(a.By, named) })
		switch {
		case author >= 0:
			c.void = append(c.void, fmt.Sprintf("%s does not count as one who has written it (%s)", a.By, c.authors[author]))
		case !counts:
			c.void = append(c.void, fmt.Sprintf("the approval by %s has expired at %s", a.By, until.UTC().Format("2006-01-02 15:04 UTC")))
		default:
			c.given = append(c.given, *a.DeepCopy())
			if until != nil && (c.until.IsZero() || until.Time.Before(c.until)) {
				c.until = until.Time
			}
		}
	}
	slices.Reverse(c.given)
	if len(c.given) > int(c.wanted) {
		c.given = c.given[len(c.given)-int(c.wanted):]
	}
	return c, nil
}

// maxAuthors is how many people a status names whose consent does not count.
const maxAuthors = 20

// authors are those who had a hand in what is new with a commit, as git and the
// forge name them: wrote, committed, signed or pushed.
func (s *source) authors(ctx context.Context, commit repo.ID) ([]string, error) {
	var news []*repo.Commit
	old, err := repo.ParseID(s.inventory.Head.Commit)
	if err == nil && s.inventory.Head.Commit != "" {
		if news, err = s.follower.repo.News(ctx, old, commit); err != nil {
			return nil, fmt.Errorf("who has written %s: %w", commit, err)
		}
	} else { // of the first one that is applied all that it has
		if news, err = s.follower.repo.Log(commit, maxFirstAuthors); err != nil {
			return nil, fmt.Errorf("who has written %s: %w", commit, err)
		}
	}
	var out []string
	add := func(named string) {
		if named != "" && !slices.Contains(out, named) {
			out = append(out, named)
		}
	}
	for _, c := range news {
		add(c.Author)
		add(c.Committer)
	}
	if r := s.release; r != nil && r.Spec.Commit == commit.String() {
		add(r.Status.PushedBy)
		if s.status.VerifiedCommit == commit.String() {
			add(s.status.VerifiedBy)
		}
	}
	return out, nil
}

// maxFirstAuthors is how many commits of a first one are looked at.
const maxFirstAuthors = 1000
