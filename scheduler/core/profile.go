package core

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// DefaultProfile is the name of the profile that decides about pods of every
// schedulerName that has none of its own.
const DefaultProfile = "default-scheduler"

// Profile is how the pods of one spec.schedulerName are decided about. The zero
// Profile is Kubernetes' default.
type Profile struct {
	// Name is the spec.schedulerName.
	Name string
	// Without are the filters, by plug-in name, that are not asked.
	Without map[string]bool
	// Weights replace those of scores, by plug-in name; 0: not asked.
	Weights map[string]int64
	// Ignored are extended resources that somebody else looks after: nodes need
	// not have them.
	Ignored map[corev1.ResourceName]bool
	// Scoring is how NodeResourcesFit compares nodes.
	Scoring Scoring
	// Filters and Scores are asked after Headway's own.
	Filters []FilterPlugin
	Scores  []ScorePlugin
}

// FilterPlugin is a filter written by others. Pods for which Class says the
// same must get the same answers, because nodes are asked once for all of them;
// nil means that the answer depends on the node alone.
type FilterPlugin struct {
	Name  string
	Class func(*corev1.Pod) string
	// Filter says why the node does not suit the pod; "" when it does.
	Filter func(p *corev1.Pod, n *Node) string
	// Helps are the changes after which the answer may be another.
	Helps Change
}

// ScorePlugin is a score written by others, from 0 to 100; Class as with
// filters.
type ScorePlugin struct {
	Name   string
	Weight int64
	Class  func(*corev1.Pod) string
	Score  func(p *corev1.Pod, n *Node) int64
}

// Strategy is how the use of a resource makes a score.
type Strategy string

const (
	// LeastAllocated prefers nodes with much left.
	LeastAllocated Strategy = ""
	// MostAllocated fills nodes up.
	MostAllocated Strategy = "MostAllocated"
	// RequestedToCapacity follows Scoring.Shape.
	RequestedToCapacity Strategy = "RequestedToCapacityRatio"
)

// Scoring is how nodes are compared by what is left of their resources.
type Scoring struct {
	Strategy Strategy
	// Resources are weighed in; cpu and memory alike when there are none.
	Resources []WeightedResource
	// Shape gives the score at some uses, in ascending order; it is straight
	// between them.
	Shape []ShapePoint
}

// WeightedResource is a resource and how much it counts.
type WeightedResource struct {
	Name   corev1.ResourceName
	Weight int64
}

// ShapePoint is a score (0 to 100) at a use (0 to 100 percent).
type ShapePoint struct{ Used, Score int64 }

// profile is a Profile made ready.
type profile struct {
	Profile
	filters             []filter
	volumeFilters       []volumeFilter
	scores              []score
	spread, affinity    int64
	spreads, affinities bool // the filters of these names are asked
	classOf             []func(*corev1.Pod) string
}

// FilterNames are the filters that a Profile can name.
func FilterNames() []string {
	names := []string{"PodTopologySpread", "InterPodAffinity"}
	for _, f := range filters {
		names = append(names, f.name)
	}
	for _, f := range volumeFilters {
		names = append(names, f.name)
	}
	return names
}

// ScoreNames are the scores that a Profile can name.
func ScoreNames() []string {
	names := []string{"PodTopologySpread", "InterPodAffinity"}
	for _, f := range scores {
		names = append(names, f.name)
	}
	return names
}

// SetProfiles replaces the profiles. Pods that no profile is for follow the one
// of DefaultProfile.
func (s *State) SetProfiles(all ...Profile) {
	for _, r := range s.rankings {
		s.forget(r)
	}
	clear(s.hopeless)
	s.profiles = map[string]*profile{DefaultProfile: ready(Profile{Name: DefaultProfile})}
	for _, p := range all {
		s.profiles[p.Name] = ready(p)
	}
}

func (s *State) profileOf(p *Pod) *profile {
	if own := s.profiles[p.Object.Spec.SchedulerName]; own != nil {
		return own
	}
	return s.profiles[DefaultProfile]
}

func ready(p Profile) *profile {
	r := &profile{Profile: p, spread: spreadWeight, affinity: affinityWeight}
	r.spreads, r.affinities = !p.Without["PodTopologySpread"], !p.Without["InterPodAffinity"]
	weight := func(name string, usual int64) int64 {
		if w, ok := p.Weights[name]; ok {
			return w
		}
		return usual
	}
	r.spread, r.affinity = weight("PodTopologySpread", spreadWeight), weight("InterPodAffinity", affinityWeight)
	for _, f := range filters {
		if f.name == "NodeResourcesFit" && len(p.Ignored) > 0 {
			f.check = fitBut(p.Ignored)
		}
		if !p.Without[f.name] {
			r.filters = append(r.filters, f)
		}
	}
	for _, f := range volumeFilters {
		if !p.Without[f.name] {
			r.volumeFilters = append(r.volumeFilters, f)
		}
	}
	for _, f := range scores {
		if f.weight = weight(f.name, f.weight); f.weight == 0 {
			continue
		}
		if f.name == "NodeResourcesFit" && (p.Scoring.Strategy != LeastAllocated || len(p.Scoring.Resources) > 0) {
			f.of = p.Scoring.rate
		}
		r.scores = append(r.scores, f)
	}
	r.add(p)
	return r
}

func (r *profile) add(p Profile) {
	for _, f := range p.Filters {
		r.filters = append(r.filters, filter{f.Name, func(p *Pod, n *Node, reasons []string) []string {
			if reason := f.Filter(p.Object, n); reason != "" {
				return append(reasons, reason)
			}
			return reasons
		}, f.Helps})
		r.classOf = append(r.classOf, f.Class)
	}
	for _, f := range p.Scores {
		r.scores = append(r.scores, score{f.Name, f.Weight, func(p *Pod, n *Node) int64 { return f.Score(p.Object, n) }})
		r.classOf = append(r.classOf, f.Class)
	}
	r.classOf = slices.DeleteFunc(r.classOf, func(f func(*corev1.Pod) string) bool { return f == nil })
}

// class is what the plug-ins of others want to tell pods apart by.
func (r *profile) class(p *Pod) (class string) {
	for _, f := range r.classOf {
		said := f(p.Object)
		class += fmt.Sprintf("|%d:%s", len(said), said)
	}
	return class
}

// rate is the score of NodeResourcesFit when it is not the usual one.
func (c Scoring) rate(p *Pod, n *Node) int64 {
	resources := c.Resources
	if len(resources) == 0 {
		resources = []WeightedResource{{corev1.ResourceCPU, 1}, {corev1.ResourceMemory, 1}}
	}
	var sum, weights int64
	for _, r := range resources {
		used, offered := n.use(p, r.Name)
		if offered <= 0 {
			continue
		}
		sum += cmp.Or(r.Weight, 1) * c.of(used, offered)
		weights += cmp.Or(r.Weight, 1)
	}
	return sum / max(weights, 1)
}

func (c Scoring) of(used, offered int64) int64 {
	switch c.Strategy {
	case MostAllocated:
		if used > offered {
			return 0
		}
		return used * 100 / offered
	case RequestedToCapacity:
		return c.at(min(used*100/offered, 100))
	}
	if used > offered {
		return 0
	}
	return (offered - used) * 100 / offered
}

// at is where the shape is at a use.
func (c Scoring) at(used int64) int64 {
	for i, point := range c.Shape {
		if used > point.Used {
			continue
		}
		if i == 0 {
			return point.Score
		}
		before := c.Shape[i-1]
		return before.Score + (point.Score-before.Score)*(used-before.Used)/(point.Used-before.Used)
	}
	if len(c.Shape) == 0 {
		return 0
	}
	return c.Shape[len(c.Shape)-1].Score
}

// use is what of a resource would be used once the pod has come. Extended
// resources that it does not ask for are left out.
func (n *Node) use(p *Pod, name corev1.ResourceName) (used, offered int64) {
	switch name {
	case corev1.ResourceCPU:
		return n.assumedCPU + p.assumedCPU, n.Allocatable.MilliCPU
	case corev1.ResourceMemory:
		return n.assumedMemory + p.assumedMemory, n.Allocatable.Memory
	case corev1.ResourceEphemeralStorage:
		return n.Used.Ephemeral + p.Requests.Ephemeral, n.Allocatable.Ephemeral
	}
	asked := p.Requests.Scalar[name]
	if asked == 0 {
		return 0, 0
	}
	return n.Used.Scalar[name] + asked, n.Allocatable.Scalar[name]
}
