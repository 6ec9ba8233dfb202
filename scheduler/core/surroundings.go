package core

import (
	"encoding/binary"
	"math"
	"slices"
)

// Usual weights of the scores that look at other pods.
const (
	spreadWeight   = 2
	affinityWeight = 2
)

// surroundings are the counters that decide about a pod beside the nodes
// themselves: those of its own terms, in the pod's order, and those of the
// terms that placed pods carry and that are about it.
type surroundings struct {
	spread, affinity, anti, soft []*counter
	carried                      []*counter
	// all are these in one list.
	all []*counter
}

func (s *State) surroundingsOf(p *Pod) surroundings {
	a := surroundings{carried: s.groupOf(p).carried}
	for i := range p.spread {
		a.spread = append(a.spread, s.spreadCounter(&p.spread[i]))
	}
	for _, t := range p.affinity {
		a.affinity = append(a.affinity, s.counterOf(t))
	}
	for _, t := range p.antiAffinity {
		a.anti = append(a.anti, s.counterOf(t))
	}
	for _, t := range p.softAffinity {
		a.soft = append(a.soft, s.counterOf(t.term))
	}
	a.all = slices.Concat(a.spread, a.affinity, a.anti, a.soft, a.carried)
	return a
}

// describe writes what the counters say about a node: nodes with the same
// description are equal in all that other pods decide.
func (a *surroundings) describe(b []byte, n *Node, place int) []byte {
	for _, c := range a.all {
		said := uint32(0) // no label; odd numbers are domains or counts, 2 is a node that does not count
		switch t := c.at[place]; {
		case t == nil:
			if _, ok := n.Object.Labels[c.topology]; ok {
				said = 2
			}
		case c.byCount():
			said = uint32(t.pods)<<1 | 1
		default:
			said = uint32(t.id)<<1 | 1
		}
		b = binary.LittleEndian.AppendUint32(b, said)
	}
	return b
}

// judge is one pod's decision about nodes by their surroundings.
type judge struct {
	*surroundings
	pod     *Pod
	profile *profile
	// lonely: there is no company yet that the pod must be near, and it would
	// be its own.
	lonely  bool
	least   []int     // by spread constraint
	weights []float64 // by spread constraint
}

func (s *State) judgeOf(p *Pod, a *surroundings) judge {
	j := judge{surroundings: a, pod: p, profile: s.profileOf(p)}
	if len(p.affinity) > 0 && p.affinity[0].matches(s, s.groupOf(p)) {
		j.lonely = true
		for _, c := range a.affinity {
			j.lonely = j.lonely && c.total == 0
		}
	}
	for i, c := range a.spread {
		least, weight := 0, 0.0
		if !p.spread[i].hard {
			weight = math.Log(float64(len(c.domains) + 2))
		} else if len(c.domains) >= p.spread[i].minDomains {
			least = c.least()
		}
		j.least, j.weights = append(j.least, least), append(j.weights, weight)
	}
	return j
}

// refuse says why the surroundings of a node do not suit the pod.
func (j *judge) refuse(n *Node, place int) (string, Change) {
	for i := range j.pod.spread {
		c := &j.pod.spread[i]
		if !c.hard || !j.profile.spreads {
			continue
		}
		if _, ok := n.Object.Labels[c.topology]; !ok {
			return "node(s) didn't match pod topology spread constraints (missing required label)", NodeLabelled
		}
		if podsAt(j.spread[i], place)+c.self-j.least[i] > c.maxSkew {
			return "node(s) didn't match pod topology spread constraints", NodeLabelled | NodeTainted | PodGone | PodPlaced
		}
	}
	if !j.profile.affinities {
		return "", 0
	}
	for _, c := range j.affinity {
		if c.at[place] == nil || c.at[place].pods == 0 && !j.lonely {
			return "node(s) didn't match pod affinity rules", NodeLabelled | PodPlaced
		}
	}
	for _, c := range j.anti {
		if podsAt(c, place) > 0 {
			return "node(s) didn't match pod anti-affinity rules", NodeLabelled | PodGone
		}
	}
	for _, c := range j.carried {
		if c.weight == 0 && podsAt(c, place) > 0 {
			return "node(s) didn't satisfy existing pods anti-affinity rules", NodeLabelled | PodGone
		}
	}
	return "", 0
}

func podsAt(c *counter, place int) int {
	if t := c.at[place]; t != nil {
		return t.pods
	}
	return 0
}

// crowd is how full the domains of a node are with what the pod would rather be
// spread among; false when the node lacks a label that it should have.
func (j *judge) crowd(n *Node, place int) (int64, bool) {
	var sum float64
	for i := range j.pod.spread {
		c := &j.pod.spread[i]
		if c.hard {
			continue
		}
		if _, ok := n.Object.Labels[c.topology]; ok {
			sum += float64(podsAt(j.spread[i], place))*j.weights[i] + float64(c.maxSkew-1)
		} else if !c.lenient {
			return 0, false
		}
	}
	return int64(math.Round(sum)), true
}

// attraction is the weight of the pods that the pod would like near and that
// would like it near, less those of the contrary.
func (j *judge) attraction(place int) int64 {
	var sum int64
	for i, c := range j.soft {
		sum += j.pod.softAffinity[i].weight * int64(podsAt(c, place))
	}
	for _, c := range j.carried {
		sum += c.weight * int64(podsAt(c, place))
	}
	return sum
}

// verdict is what a judge says about the nodes of a bucket that pass.
type verdict struct {
	bucket            *bucket
	crowd, attraction int64
	ignored           bool
	bonus             int64
}

// weigh gives each its bonus: the raw scores in relation to each other.
func (j *judge) weigh(all []verdict) {
	spread, crowds := false, bounds{}
	for i := range j.pod.spread {
		spread = spread || !j.pod.spread[i].hard
	}
	attractions := bounds{}
	for i := range all {
		attractions.take(all[i].attraction)
		if !all[i].ignored {
			crowds.take(all[i].crowd)
		}
	}
	for i := range all {
		o := &all[i]
		switch {
		case !spread || o.ignored:
		case crowds.high == 0:
			o.bonus += j.profile.spread * 100
		default:
			o.bonus += j.profile.spread * ((crowds.high + crowds.low - o.crowd) * 100 / crowds.high)
		}
		if attractions.high > attractions.low {
			o.bonus += j.profile.affinity * ((o.attraction - attractions.low) * 100 / (attractions.high - attractions.low))
		}
	}
}

type bounds struct {
	low, high int64
	some      bool
}

func (b *bounds) take(n int64) {
	if !b.some {
		b.low, b.high, b.some = n, n, true
		return
	}
	b.low, b.high = min(b.low, n), max(b.high, n)
}
