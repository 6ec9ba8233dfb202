package core

import (
	"cmp"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Preemption is which pods make way for one that fits nowhere, or why that
// would not help.
type Preemption struct {
	// Node is empty when nothing would help.
	Node string
	// Victims have lower priority than the pod and leave Node, the most
	// important first.
	Victims []*Pod
	// Violations is how many of the victims a disruption budget protects.
	Violations int
	// Ineligible is why the pod may not preempt at all; the nomination that it
	// may have stays.
	Ineligible string
	// Reasons counts the nodes by why it would not help there.
	Reasons map[string]int
	Nodes   int
}

// Message says in one sentence why preemption does not help.
func (p Preemption) Message() string {
	switch {
	case p.Node != "":
		return ""
	case p.Ineligible != "":
		return "preemption: " + p.Ineligible
	}
	return "preemption: " + Decision{Nodes: p.Nodes, Reasons: p.Reasons}.Message()
}

// Few candidates are as good as all: a search ends with a tenth of the nodes,
// but not before it has this many.
const enoughCandidates = 100

// Sacrifice is what preemption on one node would cost.
type Sacrifice struct {
	Node string
	// Victims and Violations are as in Preemption.
	Victims    []*Pod
	Violations int
}

// notHelpful is said of a node that refuses the pod for what no victim changes.
const notHelpful = "Preemption is not helpful for scheduling"

// Preempt finds the node where the least important pods have to make way for
// one that Decide has just refused. The State stays as it is.
func (s *State) Preempt(p *Pod, refused Decision) Preemption {
	plan, _ := s.Sacrifices(p, refused)
	return plan
}

// Sacrifices is Preempt with all that it has weighed.
func (s *State) Sacrifices(p *Pod, refused Decision) (Preemption, []Sacrifice) {
	out := Preemption{Nodes: s.count, Reasons: map[string]int{}}
	if out.Ineligible = s.ineligible(p); out.Ineligible != "" {
		return out, nil
	}
	if refused.Helps&PodGone == 0 { // so it is on every node
		if s.count > 0 {
			out.Reasons[notHelpful] = s.count
		}
		return out, nil
	}
	key := s.hopelessKey(p)
	if last, ok := s.hopeless[key]; ok && last.seen == s.changes.end() {
		return last.plan, nil
	}
	all := s.search(p, out.Reasons)
	if best, ok := Cheapest(all); ok {
		out.Node, out.Victims, out.Violations = best.Node, best.Victims, best.Violations
		return out, all
	}
	if len(s.hopeless) >= maxHopeless {
		clear(s.hopeless)
	}
	s.hopeless[key] = hopeless{s.changes.end(), out}
	return out, nil
}

// search weighs nodes until it has enough, and counts why others do not help.
func (s *State) search(p *Pod, reasons map[string]int) (all []Sacrifice) {
	enough := max(enoughCandidates, s.count/10)
	first := int(mix(s.seed, p.hash, uint64(s.count)) % uint64(max(len(s.nodes), 1)))
	for i := range s.nodes {
		place := (first + i) % len(s.nodes)
		n := s.nodes[place]
		if n == nil || n.Object == nil {
			continue
		}
		if _, helps := s.fits(p, place); helps&PodGone == 0 {
			reasons[notHelpful]++
			continue
		}
		c, why := s.sacrificeOn(p, place)
		for _, reason := range why {
			reasons[reason]++
		}
		if len(why) > 0 {
			continue
		}
		if all = append(all, c); len(all) >= enough {
			break
		}
	}
	return all
}

// Cheapest is the first of those that cost least.
func Cheapest(all []Sacrifice) (best Sacrifice, ok bool) {
	for _, c := range all {
		if !ok || cheaper(c, best) {
			best, ok = c, true
		}
	}
	return best, ok
}

// hopeless is a search that found nothing. Until something changes it finds
// nothing for other pods that are alike, either: they may be thousands.
type hopeless struct {
	seen int64
	plan Preemption
}

const maxHopeless = 1024

type hopelessKey struct {
	rankingKey
	group    string // by which a pod may be one of those that it counts
	priority int32
}

func (s *State) hopelessKey(p *Pod) hopelessKey {
	return hopelessKey{s.rankingKeyOf(p, s.volumesOf(p), s.profileOf(p)), p.group, p.Priority}
}

// ineligible: a pod that says so never preempts, and one that waits for its
// victims to end does not choose others meanwhile.
func (s *State) ineligible(p *Pod) string {
	if policy := p.Object.Spec.PreemptionPolicy; policy != nil && *policy == corev1.PreemptNever {
		return "not eligible due to preemptionPolicy=Never."
	}
	_, node, ok := s.Nominated(p.UID)
	if !ok {
		return ""
	}
	place, ok := s.places[node]
	if !ok || s.nodes[place].Object == nil { // only pods are known that name it
		return ""
	}
	if _, helps := s.fits(p, place); helps&PodGone == 0 {
		return ""
	}
	for _, other := range s.nodes[place].Pods {
		if other.Priority < p.Priority && endsForPreemption(other.Object) {
			return "not eligible due to a terminating pod on the nominated node."
		}
	}
	return ""
}

func endsForPreemption(o *corev1.Pod) bool {
	return o.DeletionTimestamp != nil && slices.ContainsFunc(o.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler
	})
}

// sacrificeOn takes all pods of lower priority off a node and puts back as many
// as fit beside the new one: those that a budget protects first, and the more
// important before the less.
func (s *State) sacrificeOn(p *Pod, place int) (Sacrifice, []string) {
	n := s.nodes[place]
	var lower []*Pod
	for _, other := range n.Pods {
		if other.Priority < p.Priority {
			lower = append(lower, other)
		}
	}
	if len(lower) == 0 {
		return Sacrifice{}, []string{"No preemption victims found for incoming pod"}
	}
	slices.SortFunc(lower, byImportance)
	defer s.changes.whatIf()()
	for _, other := range lower {
		s.Remove(other.UID)
	}
	c := Sacrifice{Node: n.Name}
	why, _ := s.fits(p, place)
	if len(why) == 0 {
		protected, free := s.split(lower)
		spare := func(pods []*Pod) (lost int) {
			for _, other := range pods {
				s.Place(other, n.Name)
				if refused, _ := s.fits(p, place); len(refused) > 0 {
					s.Remove(other.UID)
					c.Victims = append(c.Victims, other)
					lost++
				}
			}
			return lost
		}
		c.Violations = spare(protected)
		spare(free)
	}
	for _, other := range lower {
		s.Place(other, n.Name)
	}
	slices.SortFunc(c.Victims, byImportance)
	return c, why
}

// byImportance: higher priority first, then the pod that has run for longer.
func byImportance(a, b *Pod) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(startOf(a), startOf(b)), byName(a, b))
}

// startOf is when a pod began to run; one that has not is the youngest.
func startOf(p *Pod) int64 {
	if start := p.Object.Status.StartTime; start != nil {
		return start.UnixNano()
	}
	return math.MaxInt64
}

// cheaper compares by Kubernetes' order: fewest protected victims, then the
// least of the highest priorities, the least sum of priorities, the fewest
// victims, and the youngest among the most important.
func cheaper(a, b Sacrifice) bool {
	sum := func(pods []*Pod) (total int64) {
		for _, p := range pods {
			total += int64(p.Priority) + math.MaxInt32 + 1 // a victim more never makes it cheaper
		}
		return total
	}
	highest := func(pods []*Pod) int64 {
		if len(pods) == 0 {
			return math.MinInt64
		}
		return int64(pods[0].Priority)
	}
	oldest := func(pods []*Pod) int64 {
		if len(pods) == 0 {
			return math.MaxInt64
		}
		return startOf(pods[0]) // of the highest priority, and sorted by start
	}
	return cmp.Or(
		cmp.Compare(a.Violations, b.Violations),
		cmp.Compare(highest(a.Victims), highest(b.Victims)),
		cmp.Compare(sum(a.Victims), sum(b.Victims)),
		cmp.Compare(len(a.Victims), len(b.Victims)),
		cmp.Compare(oldest(b.Victims), oldest(a.Victims)),
	) < 0
}

// Budget is a PodDisruptionBudget as preemption asks for it.
type Budget struct {
	Namespace string
	Selector  labels.Selector
	// Allowed is how many more of its pods may go.
	Allowed int32
	// Disrupted are the pods that have been counted already, by name.
	Disrupted map[string]bool
}

// SetBudget takes over a disruption budget; nil forgets it.
func (s *State) SetBudget(namespace, name string, b *Budget) {
	key := namespace + "/" + name
	clear(s.hopeless)
	if b == nil {
		delete(s.budgets, key)
		return
	}
	s.budgets[key] = b
}

// split parts the pods, in their order, into those whose loss a budget does
// not allow and the rest.
func (s *State) split(pods []*Pod) (protected, free []*Pod) {
	spent := map[*Budget]int32{}
	for _, p := range pods {
		violates := false
		for _, b := range s.budgets {
			if b.Namespace != p.Object.Namespace || b.Selector.Empty() || b.Disrupted[p.Object.Name] || !b.Selector.Matches(p.labelSet()) {
				continue
			}
			spent[b]++
			violates = violates || spent[b] > b.Allowed
		}
		if violates {
			protected = append(protected, p)
		} else {
			free = append(free, p)
		}
	}
	return protected, free
}
