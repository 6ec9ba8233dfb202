package kind

import (
	"sync"

	"github.com/headway-sh/headway/api/txn"
)

// remembered is how many different sets of fields are shared among the objects
// that are read from then on.
const remembered = 2048

// fieldSets are the sets of managedFields that objects have had last. What one
// writer makes has the same fields in all of its objects: thousands of pods share
// a few sets, which are a fifth of a pod.
var fieldSets = newShare(remembered)

// shareFields replaces the sets of an object that was read by those of others
// that are equal. Whoever changes an object changes a copy.
func shareFields(o txn.Object) {
	entries := o.GetManagedFields()
	for i := range entries {
		if f := entries[i].FieldsV1; f != nil {
			f.Raw = fieldSets.of(f.Raw) // not by SetRawBytes, which copies
		}
	}
}

// share gives equal bytes as the same bytes. It keeps those that were asked for
// last, in two generations: what is in use moves into the younger one.
type share struct {
	most int

	mu         sync.Mutex // guards both
	young, old map[string][]byte
}

func newShare(most int) *share { return &share{most: most, young: map[string][]byte{}} }

func (s *share) of(b []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept, ok := s.young[string(b)]; ok {
		return kept
	}
	if kept, ok := s.old[string(b)]; ok {
		b = kept
	}
	if len(s.young) >= s.most/2 {
		s.young, s.old = map[string][]byte{}, s.young
	}
	s.young[string(b)] = b
	return b
}
