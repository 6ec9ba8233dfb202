package garbagecollector

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Item names an object once and for all.
type Item struct {
	Kind            schema.GroupVersionKind
	Namespace, Name string
	UID             types.UID
}

// graph remembers who depends on whom, by uid, from what the cache tells.
type graph struct {
	mu    sync.Mutex // guards what follows
	nodes map[types.UID]*node
	// dependents by owner's uid; an owner need not be known to have some.
	dependents map[types.UID]map[types.UID]*node
}

type node struct {
	item   Item
	owners []metav1.OwnerReference
	// foreground says that it waits for its dependents to go.
	foreground bool
}

func newGraph() *graph {
	return &graph{nodes: map[types.UID]*node{}, dependents: map[types.UID]map[types.UID]*node{}}
}

// set takes over an object and returns what has to be looked at: the object
// itself when an owner of it is not known or its deletion waits for something,
// and its dependents when it begins to wait for them.
func (g *graph) set(item Item, o client.Object) []Item {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[item.UID]
	if n == nil {
		n = &node{}
		g.nodes[item.UID] = n
	}
	g.unlink(n)
	var look []Item
	for _, owner := range n.owners { // one that waits for us may have been let go
		if known := g.nodes[owner.UID]; known != nil && known.foreground {
			look = append(look, known.item)
		}
	}
	n.item, n.owners = item, o.GetOwnerReferences()
	for _, owner := range n.owners {
		if g.dependents[owner.UID] == nil {
			g.dependents[owner.UID] = map[types.UID]*node{}
		}
		g.dependents[owner.UID][item.UID] = n
	}
	began := !n.foreground
	n.foreground = o.GetDeletionTimestamp() != nil && has(o, metav1.FinalizerDeleteDependents)
	if n.foreground && began {
		for _, d := range g.dependents[item.UID] {
			look = append(look, d.item)
		}
	}
	if n.foreground || o.GetDeletionTimestamp() != nil && has(o, metav1.FinalizerOrphanDependents) {
		return append(look, item)
	}
	for _, owner := range n.owners {
		if known := g.nodes[owner.UID]; known == nil || known.foreground {
			return append(look, item)
		}
	}
	return look
}

// remove forgets an object and returns its dependents, which have lost an
// owner, and its owners that may have waited for it.
func (g *graph) remove(uid types.UID) []Item {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[uid]
	if n == nil {
		return nil
	}
	g.unlink(n)
	delete(g.nodes, uid)
	var look []Item
	for _, d := range g.dependents[uid] {
		look = append(look, d.item)
	}
	for _, owner := range n.owners {
		if known := g.nodes[owner.UID]; known != nil && known.foreground {
			look = append(look, known.item)
		}
	}
	return look
}

func (g *graph) unlink(n *node) {
	for _, owner := range n.owners {
		if delete(g.dependents[owner.UID], n.item.UID); len(g.dependents[owner.UID]) == 0 {
			delete(g.dependents, owner.UID)
		}
	}
}

// waited tells whether something that depends on an object waits for its own
// dependents to go.
func (g *graph) waited(uid types.UID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.dependents[uid] {
		if d.foreground {
			return true
		}
	}
	return false
}

// of gives the items that depend on an object.
func (g *graph) of(uid types.UID) []Item {
	g.mu.Lock()
	defer g.mu.Unlock()
	items := make([]Item, 0, len(g.dependents[uid]))
	for _, d := range g.dependents[uid] {
		items = append(items, d.item)
	}
	return items
}

func has(o client.Object, finalizer string) bool {
	for _, f := range o.GetFinalizers() {
		if f == finalizer {
			return true
		}
	}
	return false
}
