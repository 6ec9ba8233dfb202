package core

import (
	"container/heap"
	"strings"
)

// maxRankings bounds the memory of rankings: about 40 bytes a node each.
const maxRankings = 64

// ranking is the order of all nodes for one class of pods. It is a memo: what
// it says is what rating every node anew would say.
type ranking struct {
	pod  *Pod // any one of the class
	seen int64
	used int64

	heap  []ranked // the best first
	where []int32  // by place: index in heap + 1, or 0
	// why is, by place, an index into sets + 1 of refused nodes, or 0.
	why    []uint16
	sets   []refusal
	byText map[string]uint16
	buffer []string
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

func (r *ranking) Len() int { return len(r.heap) }

func (r *ranking) Less(i, j int) bool { return better(r.heap[i], r.heap[j]) }

func better(a, b ranked) bool {
	if a.score != b.score {
		return a.score > b.score
	}
	if a.tie != b.tie {
		return a.tie < b.tie
	}
	return a.place < b.place
}

func (r *ranking) Swap(i, j int) {
	r.heap[i], r.heap[j] = r.heap[j], r.heap[i]
	r.where[r.heap[i].place], r.where[r.heap[j].place] = int32(i)+1, int32(j)+1
}

// walk visits the nodes, the best first, until f has enough. The usual walk is
// one step, so that it costs nothing.
func (r *ranking) walk(f func(ranked) (more bool)) {
	if len(r.heap) == 0 || !f(r.heap[0]) {
		return
	}
	next := frontier{r, []int{1, 2}}
	heap.Init(&next)
	for len(next.places) > 0 {
		i := heap.Pop(&next).(int)
		if i >= len(r.heap) {
			return
		}
		if !f(r.heap[i]) {
			return
		}
		heap.Push(&next, 2*i+1)
		heap.Push(&next, 2*i+2)
	}
}

// frontier is a heap of indices into a ranking's heap whose parents have been
// visited; those past its end come last.
type frontier struct {
	*ranking
	places []int
}

func (f *frontier) Len() int      { return len(f.places) }
func (f *frontier) Swap(i, j int) { f.places[i], f.places[j] = f.places[j], f.places[i] }
func (f *frontier) Push(x any)    { f.places = append(f.places, x.(int)) }

func (f *frontier) Less(i, j int) bool {
	a, b := f.places[i], f.places[j]
	if a >= len(f.heap) || b >= len(f.heap) {
		return a < b
	}
	return better(f.heap[a], f.heap[b])
}

func (f *frontier) Pop() any {
	last := f.places[len(f.places)-1]
	f.places = f.places[:len(f.places)-1]
	return last
}

// Push and Pop are container/heap's.
func (r *ranking) Push(x any) {
	r.heap = append(r.heap, x.(ranked))
	r.where[x.(ranked).place] = int32(len(r.heap))
}

// Pop is container/heap's.
func (r *ranking) Pop() any {
	last := r.heap[len(r.heap)-1]
	r.heap = r.heap[:len(r.heap)-1]
	r.where[last.place] = 0
	return last
}

// rankingFor finds the pod's class and lets it catch up.
func (s *State) rankingFor(p *Pod) *ranking {
	r := s.rankings[p.Class]
	if r == nil {
		if len(s.rankings) >= maxRankings {
			s.evictRanking()
		}
		r = &ranking{pod: p, seen: -1}
		s.rankings[p.Class] = r
	}
	s.uses++
	r.used = s.uses
	changed, ok := s.changes.since(r.seen)
	if r.seen < 0 || !ok || len(changed) > 2*len(s.nodes) {
		s.rank(r)
	} else {
		r.resize(len(s.nodes))
		for _, place := range changed {
			s.rerank(r, place)
		}
	}
	r.seen = s.changes.end()
	return r
}

func (s *State) evictRanking() {
	oldest, used := "", int64(-1)
	for class, r := range s.rankings {
		if used < 0 || r.used < used {
			oldest, used = class, r.used
		}
	}
	delete(s.rankings, oldest)
}

// rank rates every node.
func (s *State) rank(r *ranking) {
	r.heap, r.sets, r.byText = r.heap[:0], nil, map[string]uint16{}
	r.where, r.why = make([]int32, len(s.nodes)), make([]uint16, len(s.nodes))
	for place, n := range s.nodes {
		if n == nil || n.Object == nil {
			continue
		}
		if entry, ok := s.try(r, n, int32(place)); ok {
			r.heap = append(r.heap, entry)
			r.where[place] = int32(len(r.heap))
		}
	}
	heap.Init(r)
}

func (r *ranking) resize(n int) {
	for len(r.where) < n {
		r.where, r.why = append(r.where, 0), append(r.why, 0)
	}
}

// rerank rates one node again.
func (s *State) rerank(r *ranking, place int32) {
	if why := r.why[place]; why > 0 {
		r.sets[why-1].nodes--
		r.why[place] = 0
	}
	at := int(r.where[place]) - 1
	n := s.nodes[place]
	if n != nil && n.Object != nil {
		if entry, ok := s.try(r, n, place); ok {
			if at < 0 {
				heap.Push(r, entry)
			} else if r.heap[at] != entry {
				r.heap[at] = entry
				heap.Fix(r, at)
			}
			return
		}
	}
	if at >= 0 {
		heap.Remove(r, at)
	}
}

// try rates a node, or notes why it is refused.
func (s *State) try(r *ranking, n *Node, place int32) (ranked, bool) {
	reasons, helps := refuse(r.pod, n, r.buffer[:0])
	r.buffer = reasons[:0]
	if len(reasons) == 0 {
		return ranked{rate(r.pod, n), mix(s.seed, r.pod.hash, n.hash), place}, true
	}
	text := strings.Join(reasons, "\x00")
	set, ok := r.byText[text]
	if !ok {
		r.sets = append(r.sets, refusal{reasons: append([]string(nil), reasons...), helps: helps})
		set = uint16(len(r.sets))
		r.byText[text] = set
	}
	r.sets[set-1].nodes++
	r.why[place] = set
	return ranked{}, false
}

// refuse asks the filters in order, up to the first that refuses.
func refuse(p *Pod, n *Node, reasons []string) ([]string, Change) {
	for i := range filters {
		if reasons = filters[i].check(p, n, reasons); len(reasons) > 0 {
			return reasons, filters[i].helps
		}
	}
	return reasons, 0
}
