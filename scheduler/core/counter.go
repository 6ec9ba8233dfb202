package core

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// counter counts pods by topology domain: those that a term is about or, if it
// is carried, those that carry the term. It is kept up to date with every pod
// that comes or goes, so that decisions only look it up.
type counter struct {
	term
	key string
	// weight is what a carrier means to the pods that the term is about; 0
	// keeps them away.
	weight int64
	// living leaves out pods that are going.
	living bool
	// counts tells which nodes count; all that have the label if nil.
	counts func(*Node) bool
	// users are the rankings that look it up, or the placed pods that carry it.
	users int

	domains map[string]*tally
	next    int32
	at      []*tally // by place; nil where the node does not count
	own     []int32  // by place: the pods there, whether the node counts or not
	total   int      // over all domains
	levels  map[int]int
}

// tally is one domain of a counter.
type tally struct {
	domain string
	id     int32
	pods   int
	nodes  int
}

// byCount tells that the nodes of one domain are so few that rankings put them
// together by how many pods they have, and not by which domain it is.
func (c *counter) byCount() bool { return c.topology == corev1.LabelHostname }

// add counts pods on a node. It calls moved for every other node for which
// that makes a difference to rankings.
func (c *counter) add(place, by int, moved func(place int)) {
	c.own[place] += int32(by)
	t := c.at[place]
	if t == nil {
		return
	}
	c.change(t, by)
	c.neighbours(place, moved)
}

// neighbours visits the other nodes of a node's domain if rankings go by how
// many pods these have. They are rare: hosts have names of their own.
func (c *counter) neighbours(place int, f func(place int)) {
	if place >= len(c.at) || !c.byCount() || c.at[place] == nil || c.at[place].nodes == 1 {
		return
	}
	for other, at := range c.at {
		if at == c.at[place] && other != place {
			f(other)
		}
	}
}

func (c *counter) change(t *tally, by int) {
	c.level(t.pods, -1)
	t.pods += by
	c.total += by
	c.level(t.pods, 1)
}

func (c *counter) level(pods, by int) {
	if c.levels[pods] += by; c.levels[pods] == 0 {
		delete(c.levels, pods)
	}
}

// least is the smallest number of pods in any domain; math.MaxInt without one.
func (c *counter) least() int {
	least := math.MaxInt
	for pods := range c.levels {
		least = min(least, pods)
	}
	return least
}

// set takes over where a node is now; nil takes it out.
func (c *counter) set(place int, n *Node) {
	for len(c.at) <= place {
		c.at, c.own = append(c.at, nil), append(c.own, 0)
	}
	domain, ok := c.domainOf(n)
	old, pods := c.at[place], int(c.own[place])
	if old != nil && ok && old.domain == domain {
		return
	}
	if old != nil {
		c.change(old, -pods)
		if old.nodes--; old.nodes == 0 {
			c.level(old.pods, -1)
			delete(c.domains, old.domain)
		}
		c.at[place] = nil
	}
	if !ok {
		return
	}
	t := c.domains[domain]
	if t == nil {
		c.next++
		t = &tally{domain: domain, id: c.next}
		c.domains[domain] = t
		c.level(0, 1)
	}
	t.nodes++
	c.at[place] = t
	c.change(t, pods)
}

// domainOf is where a node counts; false when it does not.
func (c *counter) domainOf(n *Node) (string, bool) {
	if n == nil || n.Object == nil {
		return "", false
	}
	domain, ok := n.Object.Labels[c.topology]
	return domain, ok && (c.counts == nil || c.counts(n))
}

// newCounter makes a counter that knows all nodes and no pod.
func (s *State) newCounter(t term, key string) *counter {
	c := &counter{term: t, key: key, domains: map[string]*tally{}, levels: map[int]int{}}
	c.at, c.own = make([]*tally, len(s.nodes)), make([]int32, len(s.nodes))
	return c
}

// setAll tells a counter where every node is.
func (s *State) setAll(c *counter) *counter {
	for place, n := range s.nodes {
		c.set(place, n)
	}
	return c
}

// idleCounters is how many counters that nobody asks for are remembered.
const idleCounters = 256

// counterOf finds the counter of a term, or counts anew.
func (s *State) counterOf(t term) *counter {
	if c := s.counters[t.key]; c != nil {
		return c
	}
	return s.countAnew(s.newCounter(t, t.key))
}

// spreadCounter is that of a spread constraint: it leaves out pods that are
// going and nodes that the constraint is not about.
func (s *State) spreadCounter(c *spreadConstraint) *counter {
	key := c.countsKey + c.key
	if have := s.counters[key]; have != nil {
		return have
	}
	fresh := s.newCounter(c.term, key)
	fresh.living, fresh.counts = true, c.counts
	return s.countAnew(fresh)
}

// countAnew counts all placed pods that a new counter is about.
func (s *State) countAnew(c *counter) *counter {
	for _, g := range s.groups {
		if !c.matches(s, g) {
			continue
		}
		g.about = append(g.about, c)
		for _, at := range g.pods {
			if !(c.living && at.pod.going()) {
				c.own[s.places[at.node.Name]]++
			}
		}
	}
	s.counters[c.key] = c
	return s.setAll(c)
}

// carry counts a pod that carries a term. The counter of a term that nobody
// carries any more is kept for a while.
func (s *State) carry(t *carriedTerm, place, by int) {
	c := s.carried[t.key]
	if c == nil {
		c = s.newCounter(t.term, t.key)
		c.weight = t.weight
		s.carried[t.key] = s.setAll(c)
		for _, g := range s.groups {
			if c.matches(s, g) {
				g.carried = append(slices.Clip(g.carried), c) // decisions hold the old list
				g.order()
			}
		}
	}
	c.users += by
	c.add(place, by, s.changes.add)
}

// sweep forgets counters that nobody asks for when they are many. It is called
// between decisions only: within one they may be held.
func (s *State) sweep() {
	if len(s.counters) > idleCounters {
		for key, c := range s.counters {
			if c.users > 0 {
				continue
			}
			delete(s.counters, key)
			for _, g := range s.groups {
				g.about = without(g.about, c)
			}
		}
	}
	if len(s.carried) <= idleCounters {
		return
	}
	for key, c := range s.carried {
		if c.users > 0 {
			continue
		}
		delete(s.carried, key)
		for _, g := range s.groups {
			if slices.Contains(g.carried, c) {
				g.carried = without(slices.Clone(g.carried), c)
				g.order()
			}
		}
	}
}

// tell lets every counter know that a pod has come or gone.
func (s *State) tell(p *Pod, n *Node, by int) {
	place := s.places[n.Name]
	g := s.groupOf(p)
	if by > 0 {
		g.pods[p.UID] = placed{p, n}
	} else {
		delete(g.pods, p.UID)
	}
	for _, c := range g.about {
		if !(c.living && p.going()) {
			c.add(place, by, s.changes.add)
		}
	}
	for i := range p.carries {
		s.carry(&p.carries[i], place, by)
	}
}

// recount starts all counters over: other pods are in the selected namespaces.
func (s *State) recount() {
	clear(s.hopeless)
	s.counters, s.carried, s.rankings = map[string]*counter{}, map[string]*counter{}, map[rankingKey]*ranking{}
	groups := s.groups
	s.groups = map[string]*group{}
	for _, g := range groups {
		for _, at := range g.pods {
			s.tell(at.pod, at.node, 1)
		}
	}
}

// selectsNamespaces tells whether anything counts by labels of namespaces.
func (s *State) selectsNamespaces() bool {
	for _, all := range []map[string]*counter{s.counters, s.carried} {
		for _, c := range all {
			for i := range c.pods {
				if c.pods[i].inNamespaces != nil {
					return true
				}
			}
		}
	}
	return false
}
