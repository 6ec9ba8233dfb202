package repo

import (
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// Ignore matches paths against patterns in the form of a .gitignore file at
// the repository's root. Nil matches nothing.
type Ignore struct{ matcher gitignore.Matcher }

// NewIgnore reads patterns; later ones win, and "!" takes back.
func NewIgnore(patterns []string) *Ignore {
	if len(patterns) == 0 {
		return nil
	}
	parsed := make([]gitignore.Pattern, len(patterns))
	for i, p := range patterns {
		parsed[i] = gitignore.ParsePattern(p, nil)
	}
	return &Ignore{gitignore.NewMatcher(parsed)}
}

// Match tells whether a path, from the repository's root, is left out. What
// lies below a directory that is left out is not asked about.
func (i *Ignore) Match(path string, dir bool) bool {
	return i != nil && i.matcher.Match(strings.Split(path, "/"), dir)
}
