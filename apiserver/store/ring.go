package store

import "sort"

// ring keeps the newest snapshots in the order of revisions.
type ring struct {
	limit int
	kept  []*Snapshot
}

func (r *ring) push(s *Snapshot) {
	if len(r.kept) >= 2*r.limit {
		n := copy(r.kept, r.kept[len(r.kept)-r.limit:])
		clear(r.kept[n:])
		r.kept = r.kept[:n]
	}
	r.kept = append(r.kept, s)
}

func (r *ring) clear() { r.kept = nil }

// at returns the oldest kept snapshot that does not show an older state than
// the revision, which must have been published.
func (r *ring) at(revision int64) *Snapshot {
	return r.kept[sort.Search(len(r.kept), func(i int) bool { return r.kept[i].revision >= revision })]
}
