package repo

import (
	"path"
	"slices"
	"strings"
)

// always are the references that every mirror has: what people name, plan and
// go to.
var always = []string{"refs/heads/", "refs/tags/"}

// wants tells whether a mirror has a reference: every branch and tag, and what
// the patterns name.
func wants(patterns []string, name string) bool {
	if strings.HasSuffix(name, "^{}") || invalidName(name) != nil {
		return false
	}
	return IsAlwaysMirrored(name) ||
		strings.HasPrefix(name, "refs/") && MatchesRef(patterns, name)
}

// MatchesRef tells whether one of the patterns, as path.Match has them, is of a
// reference.
func MatchesRef(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}

// IsAlwaysMirrored tells whether a reference, or all that a pattern is of, needs
// no pattern to be in a mirror.
func IsAlwaysMirrored(name string) bool {
	return slices.ContainsFunc(always, func(p string) bool { return strings.HasPrefix(name, p) })
}

// prefixes are those that a remote is asked for, so that it says no more of its
// references than what may be wanted.
func prefixes(patterns []string) []string {
	out := append([]string{"HEAD"}, always...)
	for _, p := range patterns {
		if at := strings.IndexAny(p, `*?[\`); at >= 0 {
			p = p[:at]
		}
		if strings.HasPrefix(p, "refs/") && !slices.ContainsFunc(out, func(o string) bool { return strings.HasPrefix(p, o) }) {
			out = append(out, p)
		}
	}
	return out
}
