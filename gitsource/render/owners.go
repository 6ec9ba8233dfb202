package render

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// owners are those whom files belong to, each once, in order.
type owners []string

// add notes whose some files are.
func (o *owners) add(owner func(string) string, files ...string) {
	if owner == nil {
		return
	}
	for _, file := range files {
		who := owner(file)
		if at, found := slices.BinarySearch(*o, who); who != "" && !found {
			*o = slices.Insert(*o, at, who)
		}
	}
}

// one is the only owner, or nobody.
func (o owners) one() string {
	if len(o) == 1 {
		return o[0]
	}
	return ""
}

// check says what may not be built of the files: what several have a hand in,
// and what takes secrets that are not its owner's (lent). What would come of it may
// not be looked at either, messages included.
func (o owners) check(lent bool) error {
	switch {
	case len(o) > 1:
		return fmt.Errorf("is made of files of several tenants (%s): nobody's rights would be right for it", strings.Join(o, ", "))
	case len(o) == 1 && lent:
		return errors.New("reads encrypted files that are not of the tenant " + o[0])
	}
	return nil
}
