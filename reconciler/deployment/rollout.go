package deployment

import (
	"cmp"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// Limits are what a rolling update promises, in pods.
type Limits struct {
	// Replicas are wanted; never more than Replicas+Surge exist, and never
	// fewer than Replicas-Unavailable are available through our doing.
	Replicas, Surge, Unavailable int32
}

// Set is what the arithmetic knows of one ReplicaSet.
type Set struct {
	Name    string
	Created time.Time
	// Replicas are asked for, Available are there.
	Replicas, Available int32
	// Max is the limit of all sets together when this one was last scaled: the
	// whole that its share is measured against. 0: not known.
	Max int32
}

// LimitsOf resolves a Deployment's percentages: surge up, unavailable down.
// If both come to nothing one pod may be unavailable, else nothing could move.
func LimitsOf(d *appsv1.Deployment) Limits {
	l := Limits{Replicas: ptr.Deref(d.Spec.Replicas, 1)}
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || d.Spec.Strategy.RollingUpdate == nil {
		return l
	}
	rolling := d.Spec.Strategy.RollingUpdate
	l.Surge = resolve(rolling.MaxSurge, l.Replicas, true)
	l.Unavailable = resolve(rolling.MaxUnavailable, l.Replicas, false)
	if l.Surge == 0 && l.Unavailable == 0 {
		l.Unavailable = 1
	}
	l.Unavailable = min(l.Unavailable, l.Replicas)
	return l
}

func resolve(v *intstr.IntOrString, of int32, up bool) int32 {
	if v == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, int(of), up)
	if err != nil {
		return 0 // validation refuses it
	}
	return int32(max(n, 0))
}

// Ceiling is how many pods all sets together may ask for.
func (l Limits) Ceiling() int32 {
	if l.Replicas == 0 {
		return 0
	}
	return l.Replicas + l.Surge
}

// GrowNew gives the new set's replicas: as many as there is room for beside
// the total that all sets ask for.
func GrowNew(l Limits, current, total int32) int32 {
	if current >= l.Replicas {
		return l.Replicas
	}
	room := l.Replicas + l.Surge - total
	return min(current+max(room, 0), l.Replicas)
}

// ShrinkOld gives the old sets' replicas, in their order: first pods that are
// not available go, oldest set first, then as many available ones as the
// promise permits.
func ShrinkOld(l Limits, newSet Set, old []Set) []int32 {
	replicas := make([]int32, len(old))
	total := newSet.Replicas
	for i, s := range old {
		replicas[i] = s.Replicas
		total += s.Replicas
	}
	newMissing := newSet.Replicas - min(newSet.Available, newSet.Replicas)
	spare := total - (l.Replicas - l.Unavailable) - newMissing
	order := byAge(old)
	take := func(i int, n int32) {
		n = min(n, spare)
		if n > 0 {
			replicas[i] -= n
			spare -= n
		}
	}
	for _, i := range order {
		take(i, replicas[i]-min(old[i].Available, replicas[i]))
	}
	for _, i := range order {
		take(i, replicas[i])
	}
	return replicas
}

func byAge(sets []Set) []int {
	order := make([]int, len(sets))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(sets[a].Created.Compare(sets[b].Created), cmp.Compare(sets[a].Name, sets[b].Name))
	})
	return order
}

// Proportional shares out a changed number of replicas between several active
// sets in the middle of a rollout, in proportion to their size. What rounding
// leaves over goes to the largest set.
func Proportional(l Limits, sets []Set) []int32 {
	replicas := make([]int32, len(sets))
	var total int32
	for i, s := range sets {
		replicas[i] = s.Replicas
		total += s.Replicas
	}
	left := l.Ceiling() - total
	order := byAge(sets)
	if left > 0 {
		slices.Reverse(order) // growth prefers the newer of equals, shrinking the older
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sets[b].Replicas, sets[a].Replicas) })
	for _, i := range order {
		if left == 0 || sets[i].Replicas == 0 {
			continue
		}
		whole := sets[i].Max
		if whole <= 0 {
			whole = total
		}
		share := int32(math.Round(float64(sets[i].Replicas)*float64(l.Ceiling())/float64(whole))) - sets[i].Replicas
		if left > 0 {
			share = min(max(share, 0), left)
		} else {
			share = max(min(share, 0), left, -replicas[i])
		}
		replicas[i] += share
		left -= share
	}
	for _, i := range order {
		change := max(left, -replicas[i])
		replicas[i] += change
		left -= change
	}
	return replicas
}
