// Package pathglob matches the files of a repository against patterns: "teams/a"
// and everything below it, "teams/*/web.yaml" with * and ? that do not span
// slashes, "**/*.yaml" with ** for any number of directories.
package pathglob

import (
	"path"
	"slices"
	"strings"
)

// Any tells whether one of the patterns matches a file.
func Any(patterns []string, file string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return Match(p, file) })
}

// Match tells whether a pattern matches a file or a directory that it is in.
// Patterns that are none match nothing.
func Match(pattern, file string) bool {
	return match(strings.Split(pattern, "/"), strings.Split(file, "/"))
}

func match(pattern, parts []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for i := 0; i <= len(parts); i++ {
				if match(pattern[1:], parts[i:]) {
					return true
				}
			}
			return false
		}
		if len(parts) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], parts[0]); err != nil || !ok {
			return false
		}
		pattern, parts = pattern[1:], parts[1:]
	}
	return true // what is left of the parts lies below
}
