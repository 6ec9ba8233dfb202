package pathglob_test

import (
	"testing"

	"github.com/headway-sh/headway/internal/pathglob"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, file string
		want          bool
	}{
		{"teams/a", "teams/a/web.yaml", true},
		{"teams/a", "teams/a/deep/web.yaml", true},
		{"teams/a", "teams/ab/web.yaml", false},
		{"teams/a", "teams", false},
		{"teams/a/**", "teams/a/deep/web.yaml", true},
		{"teams/a/**", "teams/a", true},
		{"teams/a/**", "teams/b/a/web.yaml", false},
		{"teams/*/web.yaml", "teams/a/web.yaml", true},
		{"teams/*/web.yaml", "teams/a/b/web.yaml", false},
		{"**/*.yaml", "web.yaml", true},
		{"**/*.yaml", "a/b/web.yaml", true},
		{"**/*.yaml", "a/b/web.json", false},
		{"**", "anything", true},
		{"a/**/b/**/c", "a/x/y/b/c", true},
		{"a/**/b/**/c", "a/x/y/c", false},
		{"a-?", "a-b/x", true},
		{"[", "[", false},
	} {
		if got := pathglob.Match(c.pattern, c.file); got != c.want {
			t.Errorf("%q matches %q: %v, want %v", c.pattern, c.file, got, c.want)
		}
	}
}

func TestMatchEndsSoon(t *testing.T) {
	t.Parallel()
	// A repository's deepest paths against a pattern of many wildcards.
	if pathglob.Match("**/a/**/a/**/a/**/a/**/b", "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a") {
		t.Error("matches a path without b")
	}
	if !pathglob.Any([]string{"x", "a"}, "a/b") || pathglob.Any(nil, "a") {
		t.Error("Any")
	}
}
