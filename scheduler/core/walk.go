package core

import "container/heap"

// candidate is a node that passes, with its whole score.
type candidate struct {
	ranked
	bucket *bucket
	index  int
	bonus  int64
}

// walk visits the nodes of buckets that pass, the best first, until f has
// enough. Usually that is one step, which costs nothing but a look at the
// first of every bucket.
func walk(all []verdict, f func(candidate) (more bool)) {
	if len(all) == 0 {
		return
	}
	best := 0
	for i := 1; i < len(all); i++ {
		if better(all[i].top().ranked, all[best].top().ranked) {
			best = i
		}
	}
	if first := all[best].top(); !f(first) {
		return
	}
	next := make(frontier, 0, len(all)+1)
	for i := range all {
		if i == best {
			next = all[i].below(next, 0)
			continue
		}
		next = append(next, all[i].top())
	}
	heap.Init(&next)
	for len(next) > 0 {
		c := heap.Pop(&next).(candidate)
		if !f(c) {
			return
		}
		for _, child := range (&verdict{bucket: c.bucket, bonus: c.bonus}).below(nil, c.index) {
			heap.Push(&next, child)
		}
	}
}

func (o *verdict) top() candidate { return o.at(0) }

func (o *verdict) at(index int) candidate {
	entry := o.bucket.heap[index]
	entry.score += o.bonus
	return candidate{entry, o.bucket, index, o.bonus}
}

// below appends the two that come after one in a bucket's heap.
func (o *verdict) below(list frontier, index int) frontier {
	for child := 2*index + 1; child <= 2*index+2 && child < len(o.bucket.heap); child++ {
		list = append(list, o.at(child))
	}
	return list
}

// frontier is a heap of candidates all of whose betters have been visited.
type frontier []candidate

func (f frontier) Len() int           { return len(f) }
func (f frontier) Less(i, j int) bool { return better(f[i].ranked, f[j].ranked) }
func (f frontier) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }

// Push is container/heap's.
func (f *frontier) Push(x any) { *f = append(*f, x.(candidate)) }

// Pop is container/heap's.
func (f *frontier) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}
