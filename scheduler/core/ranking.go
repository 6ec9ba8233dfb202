package core

import (
	"container/heap"
	"strings"
)

// Rankings are kept as long as all of them together have about so many entries
// of 48 bytes. Some are kept on any cluster, and on a small one no more than
// maxRankings: each holds a pod and its counters, too.
const (
	maxEntries  = 1 << 20
	minRankings = 64
	maxRankings = 1024
)

// moreSets is how many sets of reasons a ranking gathers while it catches up,
// until it starts over and with that forgets those that no node has any more.
const moreSets = 1024

// rankingKey names a class of pods for which the same counters and volumes decide.
type rankingKey struct{ class, carried, volumes string }

// ranking is the order of all nodes for one class of pods. It is a memo: what
// it says is what rating every node anew would say. The nodes that pass are in
// buckets, by what their surroundings are: those decide about whole buckets.
type ranking struct {
	key     rankingKey
	pod     *Pod // any one of the class
	around  surroundings
	storage *volumes
	profile *profile
	seen    int64
	used    int64

	buckets []*bucket
	byText  map[string]*bucket
	where   []spot // by place
	// why is, by place, an index into sets + 1 of refused nodes, or 0.
	why      []uint32
	sets     []refusal
	ranked   int // how many of them the last rank found
	setsBy   map[string]uint32
	reasons  []string
	text     []byte
	verdicts []verdict
}

// bucket is a heap of nodes, the best first.
type bucket struct {
	*ranking
	heap  []ranked
	text  string
	index int
}

// spot is where a node is; bucket is nil where it was refused.
type spot struct {
	bucket *bucket
	index  int32
}

type ranked struct {
	score int64
	tie   uint64
	place int32
}

// refusal is a set of reasons and how many nodes have exactly these.
type refusal struct {
	reasons []string
	helps   Change
	nodes   int
}

func better(a, b ranked) bool {
	if a.score != b.score {
		return a.score > b.score
	}
	if a.tie != b.tie {
		return a.tie < b.tie
	}
	return a.place < b.place
}

// bucket is container/heap's Interface.

func (b *bucket) Len() int { return len(b.heap) }

func (b *bucket) Less(i, j int) bool { return better(b.heap[i], b.heap[j]) }

func (b *bucket) Swap(i, j int) {
	b.heap[i], b.heap[j] = b.heap[j], b.heap[i]
	b.where[b.heap[i].place].index, b.where[b.heap[j].place].index = int32(i), int32(j)
}

func (b *bucket) Push(x any) {
	b.heap = append(b.heap, x.(ranked))
	b.where[x.(ranked).place] = spot{b, int32(len(b.heap) - 1)}
}

func (b *bucket) Pop() any {
	last := b.heap[len(b.heap)-1]
	b.heap = b.heap[:len(b.heap)-1]
	b.where[last.place] = spot{}
	return last
}

// rankingFor finds the pod's ranking and lets it catch up.
func (s *State) rankingFor(p *Pod, v *volumes) *ranking {
	own := s.profileOf(p)
	key := s.rankingKeyOf(p, v, own)
	r := s.rankings[key]
	if r == nil {
		s.sweep()
		limit := min(maxRankings, max(minRankings, maxEntries/max(len(s.nodes), 1)))
		for len(s.rankings) >= limit {
			s.forgetOldest()
		}
		r = &ranking{key: key, pod: p, around: s.surroundingsOf(p), storage: v, profile: own, seen: -1}
		for _, c := range r.around.all {
			c.users++
		}
		s.rankings[key] = r
	}
	s.uses++
	r.used = s.uses
	changed, ok := s.changes.since(r.seen)
	if r.seen < 0 || !ok || len(changed) > 2*len(s.nodes) || len(r.sets) > r.ranked+moreSets {
		s.rank(r)
	} else {
		for len(r.where) < len(s.nodes) {
			r.where, r.why = append(r.where, spot{}), append(r.why, 0)
		}
		for _, place := range changed {
			s.rerank(r, place)
		}
	}
	r.seen = s.changes.end()
	return r
}

func (s *State) rankingKeyOf(p *Pod, v *volumes, own *profile) rankingKey {
	key := rankingKey{class: p.Class, carried: s.groupOf(p).carriedKey}
	if len(own.classOf) > 0 {
		key.class += own.class(p)
	}
	if v != nil {
		key.volumes = v.key
	}
	return key
}

func (s *State) forgetOldest() {
	var oldest *ranking
	for _, r := range s.rankings {
		if oldest == nil || r.used < oldest.used {
			oldest = r
		}
	}
	s.forget(oldest)
}

func (s *State) forget(r *ranking) {
	delete(s.rankings, r.key)
	for _, c := range r.around.all {
		c.users--
	}
}

// rank rates every node.
func (s *State) rank(r *ranking) {
	r.buckets, r.byText, r.sets, r.setsBy = nil, map[string]*bucket{}, nil, map[string]uint32{}
	r.where, r.why = make([]spot, len(s.nodes)), make([]uint32, len(s.nodes))
	for place, n := range s.nodes {
		if n == nil || n.Object == nil {
			continue
		}
		if entry, ok := s.try(r, n, int32(place)); ok {
			r.bucketOf(n, place, nil).Push(entry)
		}
	}
	r.ranked = len(r.sets)
	for _, b := range r.buckets {
		heap.Init(b)
	}
}

// bucketOf finds the bucket of a node that passes; usually the one it is in.
func (r *ranking) bucketOf(n *Node, place int, now *bucket) *bucket {
	r.text = r.around.describe(r.text[:0], n, place)
	if now != nil && now.text == string(r.text) {
		return now
	}
	if b := r.byText[string(r.text)]; b != nil {
		return b
	}
	b := &bucket{ranking: r, text: string(r.text), index: len(r.buckets)}
	r.buckets = append(r.buckets, b)
	r.byText[b.text] = b
	return b
}

// leave takes a node out of its bucket, and away the bucket when it is empty.
func (r *ranking) leave(at spot) {
	b := at.bucket
	heap.Remove(b, int(at.index))
	if len(b.heap) > 0 {
		return
	}
	delete(r.byText, b.text)
	last := len(r.buckets) - 1
	r.buckets[b.index] = r.buckets[last]
	r.buckets[b.index].index = b.index
	r.buckets = r.buckets[:last]
}

// rerank rates one node again.
func (s *State) rerank(r *ranking, place int32) {
	if why := r.why[place]; why > 0 {
		r.sets[why-1].nodes--
		r.why[place] = 0
	}
	at := r.where[place]
	n := s.nodes[place]
	if n != nil && n.Object != nil {
		if entry, ok := s.try(r, n, place); ok {
			b := r.bucketOf(n, int(place), at.bucket)
			switch {
			case at.bucket == b && b.heap[at.index] == entry:
			case at.bucket == b:
				b.heap[at.index] = entry
				heap.Fix(b, int(at.index))
			default:
				if at.bucket != nil {
					r.leave(at)
				}
				heap.Push(b, entry)
			}
			return
		}
	}
	if at.bucket != nil {
		r.leave(at)
	}
}

// try rates a node, or notes why it is refused.
func (s *State) try(r *ranking, n *Node, place int32) (ranked, bool) {
	reasons, helps := s.refuse(r.profile, r.pod, r.storage, n, r.reasons[:0])
	r.reasons = reasons[:0]
	if len(reasons) == 0 {
		return ranked{r.profile.rate(r.pod, n), mix(s.seed, r.pod.hash, n.hash), place}, true
	}
	text := strings.Join(reasons, "\x00")
	set, ok := r.setsBy[text]
	if !ok {
		r.sets = append(r.sets, refusal{reasons: append([]string(nil), reasons...), helps: helps})
		set = uint32(len(r.sets))
		r.setsBy[text] = set
	}
	r.sets[set-1].nodes++
	r.why[place] = set
	return ranked{}, false
}

// refuse asks the filters in order, up to the first that refuses.
func (s *State) refuse(by *profile, p *Pod, v *volumes, n *Node, reasons []string) ([]string, Change) {
	for i := range by.filters {
		if reasons = by.filters[i].check(p, n, reasons); len(reasons) > 0 {
			return reasons, by.filters[i].helps
		}
	}
	if v == nil {
		return reasons, 0
	}
	for i := range by.volumeFilters {
		if reasons = by.volumeFilters[i].check(s, p, v, n, reasons); len(reasons) > 0 {
			return reasons, by.volumeFilters[i].helps
		}
	}
	return reasons, 0
}
