package quota

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
)

// Rule says what of a resource may be had only in namespaces with a quota for it.
type Rule struct {
	Resource schema.GroupResource
	// Contains are parts of the names of quantities that some quota has to limit
	// when an object uses them.
	Contains []string
	// Scopes are those that some quota has to be about when an object is in them.
	Scopes []corev1.ScopedResourceSelectorRequirement
}

// Uncovered words what of an object no quota of its namespace covers although a
// rule wants one to, as Kubernetes does; nil when there is nothing. An object
// that uses no more than the old one, nil for none, may be as it is.
func Uncovered(rules []Rule, quotas []*corev1.ResourceQuota, r schema.GroupResource, old, o runtime.Object, now time.Time) error {
	rules = slices.DeleteFunc(slices.Clone(rules), func(rule Rule) bool { return rule.Resource != r })
	if len(rules) == 0 {
		return nil
	}
	used := all(r, o, now)
	if more := quotav1.RemoveZeros(quotav1.SubtractWithNonNegativeResult(used, all(r, old, now))); len(more) == 0 {
		return nil
	}
	if names := uncoveredNames(rules, quotas, r, o, used); len(names) > 0 {
		return fmt.Errorf("insufficient quota to consume: %s", strings.Join(names, ","))
	}
	if scopes := uncoveredScopes(rules, quotas, r, o); len(scopes) > 0 {
		return fmt.Errorf("insufficient quota to match these scopes: %v", scopes)
	}
	return nil
}

// all is what an object uses of anything.
func all(r schema.GroupResource, o runtime.Object, now time.Time) corev1.ResourceList {
	if o == nil {
		return corev1.ResourceList{}
	}
	used := corev1.ResourceList{countName(r): number(1)}
	if e := evaluators[r]; e.usage != nil {
		used = quotav1.Add(used, e.usage(o, now))
	}
	return used
}

func uncoveredNames(rules []Rule, quotas []*corev1.ResourceQuota, r schema.GroupResource, o runtime.Object, used corev1.ResourceList) []string {
	var names []string
	for name, quantity := range used {
		named := func(part string) bool { return strings.Contains(string(name), part) }
		covers := func(q *corev1.ResourceQuota) bool { return slices.Contains(Limited(q, r), name) && Scoped(q, r, o) }
		wanted := slices.ContainsFunc(rules, func(rule Rule) bool { return slices.ContainsFunc(rule.Contains, named) })
		if quantity.Sign() > 0 && wanted && !slices.ContainsFunc(quotas, covers) {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}

func uncoveredScopes(rules []Rule, quotas []*corev1.ResourceQuota, r schema.GroupResource, o runtime.Object) []corev1.ScopedResourceSelectorRequirement {
	in := evaluators[r].scope
	if in == nil {
		return nil
	}
	var uncovered []corev1.ScopedResourceSelectorRequirement
	for _, rule := range rules {
		for _, wanted := range rule.Scopes {
			about := func(s corev1.ScopedResourceSelectorRequirement) bool {
				return s.ScopeName == wanted.ScopeName && in(o, s)
			}
			covers := func(q *corev1.ResourceQuota) bool { return slices.ContainsFunc(scopes(q), about) }
			if in(o, wanted) && !slices.ContainsFunc(quotas, covers) {
				uncovered = append(uncovered, wanted)
			}
		}
	}
	return uncovered
}
