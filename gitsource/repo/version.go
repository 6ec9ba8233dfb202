package repo

import (
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"
)

const tagPrefix = "refs/tags/"

// newest gives the tag with the highest version within a range. Of tags that
// mean the same version, such as v1.2.0 and 1.2.0, the first by name counts.
func (r *Repository) newest(within string) (string, error) {
	constraint, err := semver.NewConstraint(within)
	if err != nil {
		return "", fmt.Errorf("range of versions %q: %w", within, err)
	}
	refs, err := r.storage.IterReferences()
	if err != nil {
		return "", fmt.Errorf("read tags: %w", err)
	}
	var best string
	var highest *semver.Version
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		tag, isTag := strings.CutPrefix(ref.Name().String(), tagPrefix)
		version, err := semver.NewVersion(tag)
		if !isTag || err != nil || !constraint.Check(version) {
			return nil
		}
		if highest == nil || version.GreaterThan(highest) || version.Equal(highest) && tagPrefix+tag < best {
			best, highest = tagPrefix+tag, version
		}
		return nil
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("read tags: %w", err)
	case best != "":
		return best, nil
	case r.empty():
		return "", ErrEmpty
	}
	return "", fmt.Errorf("no tag is a version within %q: %w", within, ErrNoRef)
}

// Older tells whether a reference is a tag with a lower version than another:
// going back to it is no step forward.
func Older(ref, than string) bool {
	a, errA := semver.NewVersion(strings.TrimPrefix(ref, tagPrefix))
	b, errB := semver.NewVersion(strings.TrimPrefix(than, tagPrefix))
	return errA == nil && errB == nil && a.LessThan(b)
}
