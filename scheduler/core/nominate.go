package core

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// nomination is the room that a pod has been promised on a node, where others
// make way for it.
type nomination struct {
	pod  *Pod
	node string
}

// Nominate promises a pod room on a node: pods of lower priority are placed as
// if it were there already. A pod has one nomination at most, the newest.
func (s *State) Nominate(p *Pod, node string) {
	s.Unnominate(p.UID)
	s.nominations[p.UID] = nomination{p, node}
	guests := s.guests[node]
	if guests == nil {
		guests = map[types.UID]*Pod{}
		s.guests[node] = guests
	}
	guests[p.UID] = p
	s.touch(node)
}

// Unnominate takes the promise back; it tells whether there was one.
func (s *State) Unnominate(uid types.UID) bool {
	old, ok := s.nominations[uid]
	if !ok {
		return false
	}
	delete(s.nominations, uid)
	if delete(s.guests[old.node], uid); len(s.guests[old.node]) == 0 {
		delete(s.guests, old.node)
	}
	s.touch(old.node)
	return true
}

// Nominated gives the node that a pod has been promised.
func (s *State) Nominated(uid types.UID) (pod *Pod, node string, ok bool) {
	n, ok := s.nominations[uid]
	return n.pod, n.node, ok
}

// NominatedOn gives the pods that have been promised a node, by name.
func (s *State) NominatedOn(node string) []*Pod {
	return slices.SortedFunc(maps.Values(s.guests[node]), byName)
}

func byName(a, b *Pod) int {
	return cmp.Or(cmp.Compare(a.Object.Namespace, b.Object.Namespace), cmp.Compare(a.Object.Name, b.Object.Name), cmp.Compare(a.UID, b.UID))
}

// besideGuests says why the pod would not fit on a node once the pods of at
// least its own priority that were promised room there have come.
func (s *State) besideGuests(p *Pod, place int) ([]string, Change) {
	n := s.nodes[place]
	var come []*Pod
	for _, guest := range s.NominatedOn(n.Name) {
		if _, there := s.pods[guest.UID]; !there && guest.UID != p.UID && guest.Priority >= p.Priority {
			come = append(come, guest)
		}
	}
	if len(come) == 0 {
		return nil, 0
	}
	defer s.changes.whatIf()()
	for _, guest := range come {
		s.Place(guest, n.Name)
	}
	reasons, helps := s.whyNot(p, n)
	for _, guest := range come {
		s.Remove(guest.UID)
	}
	return reasons, helps
}

// whyNot asks every filter about one node.
func (s *State) whyNot(p *Pod, n *Node) ([]string, Change) {
	v := s.volumesOf(p)
	if v != nil && v.reason != "" {
		return []string{v.reason}, StorageChanged
	}
	if reasons, helps := s.refuse(s.profileOf(p), p, v, n, nil); len(reasons) > 0 {
		return reasons, helps
	}
	around := s.surroundingsOf(p)
	j := s.judgeOf(p, &around)
	if reason, helps := j.refuse(n, s.places[n.Name]); reason != "" {
		return []string{reason}, helps
	}
	return nil, 0
}

// fits tells whether the pod may go to a node as things are, and also once the
// promised pods have come; if not, it says why.
func (s *State) fits(p *Pod, place int) ([]string, Change) {
	if reasons, helps := s.whyNot(p, s.nodes[place]); len(reasons) > 0 {
		return reasons, helps
	}
	return s.besideGuests(p, place)
}
