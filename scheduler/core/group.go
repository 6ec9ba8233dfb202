package core

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// group is the placed pods with the same namespace, labels and owner: whether
// a term is about them is asked once for all.
type group struct {
	namespace string
	labels    labels.Set
	owner     types.UID
	pods      map[types.UID]placed
	// about are the counters that count these pods.
	about []*counter
	// carried are the counters of terms that placed pods carry and that are
	// about this group's, ordered by key; carriedKey names them all. Rankings
	// hold the list: it is replaced, never changed.
	carried    []*counter
	carriedKey string
}

// idleGroups is how many groups without placed pods are remembered.
const idleGroups = 1024

// groupOf finds the pod's group, or makes it.
func (s *State) groupOf(p *Pod) *group {
	g := s.groups[p.group]
	if g == nil {
		if len(s.groups) > idleGroups+2*len(s.pods) {
			maps.DeleteFunc(s.groups, func(_ string, g *group) bool { return len(g.pods) == 0 })
		}
		g = &group{namespace: p.Object.Namespace, labels: p.labelSet(), owner: p.Owner, pods: map[types.UID]placed{}}
		s.match(g)
		s.groups[p.group] = g
	}
	return g
}

// match asks every counter whether it is about the group.
func (s *State) match(g *group) {
	g.about, g.carried = nil, nil
	for _, c := range s.counters {
		if c.matches(s, g) {
			g.about = append(g.about, c)
		}
	}
	for _, c := range s.carried {
		if c.matches(s, g) {
			g.carried = append(g.carried, c)
		}
	}
	g.order()
}

// order sorts a list of carried terms that nobody holds yet.
func (g *group) order() {
	slices.SortFunc(g.carried, func(a, b *counter) int { return strings.Compare(a.key, b.key) })
	var keys strings.Builder
	for _, c := range g.carried {
		keys.WriteString(c.key)
		keys.WriteByte(0)
	}
	g.carriedKey = keys.String()
}

func without(list []*counter, c *counter) []*counter {
	return slices.DeleteFunc(list, func(have *counter) bool { return have == c })
}

// groupKey writes down what makes a pod a member of its group.
func (p *Pod) groupKey() string {
	var b strings.Builder
	b.WriteString(p.Object.Namespace)
	b.WriteByte(0)
	b.WriteString(string(p.Owner))
	for _, key := range slices.Sorted(maps.Keys(p.Object.Labels)) {
		b.WriteByte(0)
		b.WriteString(key)
		b.WriteByte('=')
		b.WriteString(p.Object.Labels[key])
	}
	return b.String()
}
