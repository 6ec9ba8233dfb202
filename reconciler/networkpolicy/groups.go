package networkpolicy

import (
	"context"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/internal/podgroup"
	"github.com/headway-sh/headway/reconciler/controller"
)

// groups are those that policies speak of, with their selectors read, so that a
// pod's change costs no more than matching it.
type groups struct {
	mu   sync.Mutex // guards what follows
	all  map[podgroup.Key]*spoken
	from map[types.NamespacedName]map[podgroup.Key]podgroup.Group // by policy
}

// spoken is a group and how many policies speak of it.
type spoken struct {
	podgroup.Group
	policies int
}

func newGroups() *groups {
	return &groups{all: map[podgroup.Key]*spoken{}, from: map[types.NamespacedName]map[podgroup.Key]podgroup.Group{}}
}

// policy takes a policy's change and gives the groups that come or go by it.
func (g *groups) policy(_ context.Context, before, after *networkingv1.NetworkPolicy) []podgroup.Key {
	o := controller.Present(after, before)[0]
	name := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
	var needed map[podgroup.Key]podgroup.Group
	if after != nil {
		needed = podgroup.Needed(after)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	changed := map[podgroup.Key]bool{}
	for key, group := range needed {
		if _, had := g.from[name][key]; had {
			continue
		}
		if g.all[key] == nil {
			g.all[key] = &spoken{Group: group}
			changed[key] = true
		}
		g.all[key].policies++
	}
	for key := range g.from[name] {
		if _, keeps := needed[key]; keeps {
			continue
		}
		if g.all[key].policies--; g.all[key].policies == 0 {
			delete(g.all, key)
			changed[key] = true
		}
	}
	if g.from[name] = needed; len(needed) == 0 {
		delete(g.from, name)
	}
	return slices.Collect(maps.Keys(changed))
}

// namespace gives the groups that a namespace's pods come into or leave with
// its labels. A namespace that comes or goes has no pods.
func (g *groups) namespace(_ context.Context, before, after *corev1.Namespace) []podgroup.Key {
	if before == nil || after == nil || maps.Equal(before.Labels, after.Labels) {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var keys []podgroup.Key
	for key, group := range g.all {
		if group.Namespace == "" && group.Namespaces.Matches(labels.Set(before.Labels)) != group.Namespaces.Matches(labels.Set(after.Labels)) {
			keys = append(keys, key)
		}
	}
	return keys
}

// of gives the groups that the states of a pod are in.
func (g *groups) of(namespaceLabels map[string]string, states ...*corev1.Pod) []podgroup.Key {
	g.mu.Lock()
	defer g.mu.Unlock()
	var keys []podgroup.Key
	for key, group := range g.all {
		if slices.ContainsFunc(states, func(p *corev1.Pod) bool { return group.Has(p.Namespace, namespaceLabels, p.Labels) }) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (g *groups) get(key podgroup.Key) (podgroup.Group, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.all[key]; s != nil {
		return s.Group, true
	}
	return podgroup.Group{}, false
}

func (g *groups) none() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.all) == 0
}

// same tells whether no group shows a difference between two states of a pod.
func same(a, b *corev1.Pod) bool {
	return member(a) == member(b) && maps.Equal(a.Labels, b.Labels) && a.Spec.NodeName == b.Spec.NodeName && equality.Semantic.DeepEqual(a.Status.PodIPs, b.Status.PodIPs)
}
