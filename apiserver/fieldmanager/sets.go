package fieldmanager

import (
	"bytes"
	"sync"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// keptSets is how many decoded sets one generation of the cache holds.
const keptSets = 256

// sets remembers decoded field sets by their encoding: the pods of a
// ReplicaSet, the leases of all nodes have the same few. Decoded sets are
// shared and never changed.
type sets struct {
	mu         sync.Mutex // guards both
	young, old map[string]*fieldpath.Set
}

func (s *sets) decode(raw []byte) (*fieldpath.Set, error) {
	if set := s.get(raw); set != nil {
		return set, nil
	}
	set := fieldpath.NewSet()
	if err := set.FromJSON(bytes.NewReader(raw)); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(string(raw), set)
	return set, nil
}

func (s *sets) get(raw []byte) *fieldpath.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	if set := s.young[string(raw)]; set != nil {
		return set
	}
	set := s.old[string(raw)]
	if set != nil {
		s.put(string(raw), set)
	}
	return set
}

// put adds a set; a full generation becomes the old one and the one before it
// is forgotten.
func (s *sets) put(raw string, set *fieldpath.Set) {
	if s.young == nil || len(s.young) >= keptSets {
		s.old, s.young = s.young, make(map[string]*fieldpath.Set, keptSets)
	}
	s.young[raw] = set
}
