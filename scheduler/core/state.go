package core

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
)

// State is the cluster as decisions see it. It is owned by one goroutine. All
// updates are idempotent and cost what has changed, not what there is.
type State struct {
	seed uint64
	// nodes keep their place for life; nil where a node has gone.
	nodes  []*Node
	places map[string]int
	free   []int
	count  int // nodes with an object

	pods        map[types.UID]placed
	groups      map[string]*group
	namespaces  map[string]map[string]string
	counters    map[string]*counter
	carried     map[string]*counter
	nominations map[types.UID]nomination
	guests      map[string]map[types.UID]*Pod // nominated pods by node
	budgets     map[string]*Budget
	storage     storage
	profiles    map[string]*profile
	hopeless    map[hopelessKey]hopeless

	changes  changeLog
	rankings map[rankingKey]*ranking
	uses     int64
}

type placed struct {
	pod  *Pod
	node *Node
}

// NewState returns an empty cluster. The seed settles ties between nodes.
func NewState(seed uint64) *State {
	s := &State{
		seed: seed, places: map[string]int{}, pods: map[types.UID]placed{},
		groups: map[string]*group{}, namespaces: map[string]map[string]string{},
		counters: map[string]*counter{}, carried: map[string]*counter{},
		nominations: map[types.UID]nomination{}, guests: map[string]map[types.UID]*Pod{},
		budgets: map[string]*Budget{}, hopeless: map[hopelessKey]hopeless{}, storage: newStorage(), rankings: map[rankingKey]*ranking{},
	}
	s.SetProfiles()
	return s
}

// Len is the number of nodes.
func (s *State) Len() int { return s.count }

// SetNode adds a node or takes over its changes; it tells which may
// help a pod that found none.
func (s *State) SetNode(o *corev1.Node) Change {
	place := s.place(o.Name)
	n := s.nodes[place]
	old := n.Object
	change := changeOf(old, o)
	if old != nil && change == 0 && equality.Semantic.DeepEqual(old.Status.Images, o.Status.Images) {
		n.Object = o
		return 0
	}
	if old == nil {
		s.count++
	}
	n.set(o)
	if change&^NodeGrown != 0 {
		s.recountAt(place)
	}
	s.changes.add(place)
	return change
}

func changeOf(old, o *corev1.Node) (change Change) {
	if old == nil {
		return NodeAdded
	}
	if !maps.Equal(old.Labels, o.Labels) {
		change |= NodeLabelled
	}
	if old.Spec.Unschedulable != o.Spec.Unschedulable || !equality.Semantic.DeepEqual(old.Spec.Taints, o.Spec.Taints) {
		change |= NodeTainted
	}
	if !equality.Semantic.DeepEqual(old.Status.Allocatable, o.Status.Allocatable) {
		change |= NodeGrown
	}
	return change
}

// recountAt moves a node's pods to its new topology domains. Nodes that share
// a domain with it are changed by that too.
func (s *State) recountAt(place int) {
	for _, all := range []map[string]*counter{s.counters, s.carried} {
		for _, c := range all {
			c.neighbours(place, s.changes.add)
			c.set(place, s.nodes[place])
			c.neighbours(place, s.changes.add)
		}
	}
}

// RemoveNode forgets a node; what still runs there is remembered.
func (s *State) RemoveNode(name string) {
	place, ok := s.places[name]
	if !ok || s.nodes[place].Object == nil {
		return
	}
	n := s.nodes[place]
	n.Object = nil
	s.recountAt(place)
	s.count--
	s.changes.add(place)
	s.drop(place)
}

// place finds the place of a node, or makes one.
func (s *State) place(name string) int {
	if place, ok := s.places[name]; ok {
		return place
	}
	place := len(s.nodes)
	if last := len(s.free) - 1; last >= 0 {
		place, s.free = s.free[last], s.free[:last]
		s.nodes[place] = newNode(name)
	} else {
		s.nodes = append(s.nodes, newNode(name))
	}
	s.recountAt(place)
	s.places[name] = place
	return place
}

// drop frees the place of a node that is neither known nor named by a pod.
func (s *State) drop(place int) {
	n := s.nodes[place]
	if n.Object != nil || len(n.Pods) > 0 {
		return
	}
	delete(s.places, n.Name)
	s.nodes[place] = nil
	s.free = append(s.free, place)
}

// Place puts a pod on a node: one that is assumed to go there, or is known to
// be there. It tells whether that is news.
func (s *State) Place(p *Pod, node string) bool {
	if old, ok := s.pods[p.UID]; ok {
		if old.node.Name == node && samePod(old.pod, p) {
			s.replace(old, p)
			return false
		}
		s.Remove(p.UID)
	}
	place := s.place(node)
	n := s.nodes[place]
	n.add(p)
	s.pods[p.UID] = placed{p, n}
	s.tell(p, n, 1)
	s.use(p, true)
	s.changes.add(place)
	return true
}

func samePod(a, b *Pod) bool {
	return a.Class == b.Class && a.group == b.group && a.going() == b.going() && slices.EqualFunc(a.carries, b.carries, sameCarried)
}

func sameCarried(a, b carriedTerm) bool { return a.key == b.key }

// replace takes the newer object of a pod that otherwise stays as it is.
func (s *State) replace(old placed, p *Pod) {
	old.node.Pods[p.UID] = p
	s.pods[p.UID] = placed{p, old.node}
	s.groupOf(p).pods[p.UID] = placed{p, old.node}
}

// Remove takes a pod off its node; it tells whether it was on one.
func (s *State) Remove(uid types.UID) bool {
	at, ok := s.pods[uid]
	if !ok {
		return false
	}
	s.tell(at.pod, at.node, -1)
	s.use(at.pod, false)
	at.node.remove(at.pod)
	delete(s.pods, uid)
	place := s.places[at.node.Name]
	s.changes.add(place)
	s.drop(place)
	return true
}

// NodeOf gives the node that a pod is on or assumed to go to.
func (s *State) NodeOf(uid types.UID) (string, bool) {
	at, ok := s.pods[uid]
	if !ok {
		return "", false
	}
	return at.node.Name, true
}

// SetNamespace takes over a namespace's labels; nil labels forget it.
func (s *State) SetNamespace(name string, labels map[string]string) {
	same := maps.Equal(s.namespaces[name], labels)
	if labels == nil {
		delete(s.namespaces, name)
	} else {
		s.namespaces[name] = labels
	}
	if !same && s.selectsNamespaces() {
		s.recount()
	}
}

// changeLog remembers which places have changed, in order, so that each
// ranking can catch up from where it is.
type changeLog struct {
	first  int64 // number of the first entry that is kept
	places []int32
	// paused counts the what-ifs under way: they leave all as it was.
	paused int
}

func (l *changeLog) end() int64 { return l.first + int64(len(l.places)) }

// whatIf keeps changes out of the log until the function that it returns is
// called; by then they must have been taken back.
func (l *changeLog) whatIf() (over func()) {
	l.paused++
	return func() { l.paused-- }
}

func (l *changeLog) add(place int) {
	if l.paused > 0 {
		return
	}
	l.places = append(l.places, int32(place))
	if half := len(l.places) / 2; half >= 1<<14 {
		l.first += int64(half)
		l.places = append(l.places[:0:0], l.places[half:]...)
	}
}

// since gives the places that have changed since the number, or false when
// that is too long ago.
func (l *changeLog) since(number int64) ([]int32, bool) {
	if number < l.first {
		return nil, false
	}
	return l.places[number-l.first:], true
}

// Pod gives the pod as it was last placed.
func (s *State) Pod(uid types.UID) (*Pod, bool) {
	at, ok := s.pods[uid]
	return at.pod, ok
}
