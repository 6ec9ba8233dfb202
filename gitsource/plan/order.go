package plan

import (
	"cmp"
	"container/heap"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
)

// item is something to be put into order.
type item struct {
	entry Entry
	body  map[string]any
}

// order gives the indices of items in the order of creation: whatever an
// object names comes before it, and what no reference orders goes by Compare.
// The order is the same whatever the items' own. Where objects name each other
// in a circle, the first of it by Compare goes first.
func order(items []item) []int {
	at := make(map[txn.Ref]int, len(items))
	for i := range items {
		at[items[i].entry.Ref()] = i
	}
	waits := make([]int, len(items))    // how many are still to come before
	frees := make([][]int, len(items))  // who waits for it
	first := make([]int, 0, len(items)) // by Compare
	for i := range items {
		first = append(first, i)
		seen := map[int]bool{i: true}
		for _, ref := range needs(&items[i].entry, items[i].body) {
			if before, ok := at[ref]; ok && !seen[before] {
				seen[before] = true
				waits[i]++
				frees[before] = append(frees[before], i)
			}
		}
	}
	slices.SortFunc(first, func(a, b int) int { return Compare(items[a].entry, items[b].entry) })
	position := make([]int, len(items))
	for n, i := range first {
		position[i] = n
	}
	ready := &queue{position: position}
	for _, i := range first {
		if waits[i] == 0 {
			ready.indices = append(ready.indices, i) // sorted, so a heap
		}
	}
	out := make([]int, 0, len(items))
	done := make([]bool, len(items))
	for next := 0; len(out) < len(items); {
		if ready.Len() == 0 { // a circle
			for done[first[next]] {
				next++
			}
			heap.Push(ready, first[next])
		}
		i := heap.Pop(ready).(int)
		if done[i] {
			continue
		}
		done[i] = true
		out = append(out, i)
		for _, j := range frees[i] {
			if waits[j]--; waits[j] == 0 && !done[j] {
				heap.Push(ready, j)
			}
		}
	}
	return out
}

// queue is a heap of indices, the one with the lowest position first.
type queue struct{ indices, position []int }

func (q *queue) Len() int           { return len(q.indices) }
func (q *queue) Less(i, j int) bool { return q.position[q.indices[i]] < q.position[q.indices[j]] }
func (q *queue) Swap(i, j int)      { q.indices[i], q.indices[j] = q.indices[j], q.indices[i] }
func (q *queue) Push(x any)         { q.indices = append(q.indices, x.(int)) }
func (q *queue) Pop() any {
	last := len(q.indices) - 1
	x := q.indices[last]
	q.indices = q.indices[:last]
	return x
}

// sortApplies puts what is applied into order.
func sortApplies(applies []wanted) []wanted {
	items := make([]item, len(applies))
	for i, w := range applies {
		items[i] = item{w.entry, w.object.Body.Object}
	}
	out := make([]wanted, 0, len(applies))
	for _, i := range order(items) {
		out = append(out, applies[i])
	}
	return out
}

// sortDeletes puts what goes into the order of creation turned round, by what
// the live objects name; the highest wave goes first.
func sortDeletes(view txn.View, deletes []Entry) []Entry {
	items := make([]item, len(deletes))
	waves := make([]int, len(deletes))
	for i, e := range deletes {
		items[i].entry = e
		o, ok := view.Get(e.Ref())
		if !ok {
			continue
		}
		// What cannot be converted has no references: the rank is enough.
		items[i].body, _ = runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		waves[i], _ = wave(o.GetAnnotations())
	}
	indices := order(items)
	slices.Reverse(indices)
	slices.SortStableFunc(indices, func(a, b int) int { return cmp.Compare(waves[b], waves[a]) })
	out := make([]Entry, 0, len(deletes))
	for _, i := range indices {
		out = append(out, deletes[i])
	}
	return out
}

// Compare orders entries for creation where no reference does: what others
// need comes first, what calls into others comes last.
func Compare(a, b Entry) int {
	return cmp.Or(cmp.Compare(rank(a.Group, a.Kind), rank(b.Group, b.Kind)), a.Ref().Compare(b.Ref()))
}

func rank(group, kind string) int {
	switch kind {
	case "Namespace":
		return 0
	case "CustomResourceDefinition":
		return 1
	case "PriorityClass", "StorageClass", "RuntimeClass", "IngressClass", "ResourceQuota", "LimitRange":
		return 2
	case "ServiceAccount", "Role", "ClusterRole":
		return 3
	case "RoleBinding", "ClusterRoleBinding":
		return 4 // what others are written with
	case "ConfigMap", "Secret", "PersistentVolume":
		return 5
	case "Service", "PersistentVolumeClaim":
		return 6
	case "APIService":
		return 9
	}
	if group == "admissionregistration.k8s.io" {
		return 9
	}
	return 7
}
