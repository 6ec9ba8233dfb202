//go:build race

package store

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
)

// seal is the checksum of an entry's object when it was published.
type seal struct{ sum uint64 }

func (e *Entry) checksum() uint64 {
	h := fnv.New64a()
	if err := json.NewEncoder(h).Encode(e.Object); err != nil {
		return 0
	}
	return h.Sum64()
}

// seal remembers what the object looks like.
func (e *Entry) seal() { e.sealed.sum = e.checksum() }

// verify panics when somebody has written to the shared object.
func (e *Entry) verify() {
	if e.Object != nil && e.checksum() != e.sealed.sum {
		panic(fmt.Sprintf("store: the shared object %s at revision %d was written to; whoever changes an object makes a deep copy first", e.Ref, e.Revision))
	}
}

// verify verifies all entries.
func (s *Snapshot) verify() {
	for resource := range s.catalog.numbers {
		for e := range s.Entries(resource, "") {
			e.verify()
		}
	}
}
