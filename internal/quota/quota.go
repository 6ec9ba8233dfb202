package quota

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
)

// evaluator knows the objects of one resource.
type evaluator struct {
	// names tells whether a quantity of a quota is about the resource, besides
	// count/<resource>.
	names func(corev1.ResourceName) bool
	// usage is what an object uses, besides its count.
	usage func(o runtime.Object, now time.Time) corev1.ResourceList
	// scope tells whether an object is in a scope; nil: it is in none.
	scope func(o runtime.Object, s corev1.ScopedResourceSelectorRequirement) bool
}

var evaluators = map[schema.GroupResource]evaluator{
	corev1.Resource("pods"):                                {podName, podUsage, podScope},
	corev1.Resource("services"):                            {serviceName, serviceUsage, nil},
	corev1.Resource("persistentvolumeclaims"):              {claimName, claimUsage, claimScope},
	{Group: "resource.k8s.io", Resource: "resourceclaims"}: {deviceName, deviceUsage, nil},
	corev1.Resource("configmaps"):                          counted(corev1.ResourceConfigMaps),
	corev1.Resource("secrets"):                             counted(corev1.ResourceSecrets),
	corev1.Resource("resourcequotas"):                      counted(corev1.ResourceQuotas),
	corev1.Resource("replicationcontrollers"):              counted(corev1.ResourceReplicationControllers),
}

// counted are the resources that had a name of their own before there was count/.
func counted(alias corev1.ResourceName) evaluator {
	return evaluator{
		names: func(name corev1.ResourceName) bool { return name == alias },
		usage: func(runtime.Object, time.Time) corev1.ResourceList { return corev1.ResourceList{alias: number(1)} },
	}
}

// Counts tells whether objects of a resource can be limited at all.
func Counts(r schema.GroupResource) bool {
	return r != corev1.Resource("events") && r != schema.GroupResource{Group: "events.k8s.io", Resource: "events"}
}

// countName is the name of the number of objects of a resource.
func countName(r schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName("count/" + r.String())
}

// Limited are the quantities of a quota that objects of the resource count in.
func Limited(q *corev1.ResourceQuota, r schema.GroupResource) []corev1.ResourceName {
	if !Counts(r) {
		return nil
	}
	e := evaluators[r]
	var names []corev1.ResourceName
	for name := range q.Spec.Hard {
		if name == countName(r) || e.names != nil && e.names(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Scoped tells whether an object is in all scopes of a quota.
func Scoped(q *corev1.ResourceQuota, r schema.GroupResource, o runtime.Object) bool {
	in := evaluators[r].scope
	for _, s := range scopes(q) {
		if in == nil || !in(o, s) {
			return false
		}
	}
	return true
}

func scopes(q *corev1.ResourceQuota) []corev1.ScopedResourceSelectorRequirement {
	var all []corev1.ScopedResourceSelectorRequirement
	for _, s := range q.Spec.Scopes {
		all = append(all, corev1.ScopedResourceSelectorRequirement{ScopeName: s, Operator: corev1.ScopeSelectorOpExists})
	}
	if q.Spec.ScopeSelector != nil {
		all = append(all, q.Spec.ScopeSelector.MatchExpressions...)
	}
	return all
}

// Usage is what an object uses of what a quota limits; nothing when the object
// is nil or not in the quota's scopes.
func Usage(q *corev1.ResourceQuota, r schema.GroupResource, o runtime.Object, now time.Time) corev1.ResourceList {
	names := Limited(q, r)
	if o == nil || len(names) == 0 || !Scoped(q, r, o) {
		return corev1.ResourceList{}
	}
	return quotav1.Mask(all(r, o, now), names)
}

// Resources are the resources whose objects a quota counts.
func Resources(q *corev1.ResourceQuota) []schema.GroupResource {
	var all []schema.GroupResource
	for name := range q.Spec.Hard {
		if counted, ok := strings.CutPrefix(string(name), "count/"); ok {
			if r := schema.ParseGroupResource(counted); Counts(r) {
				all = append(all, r)
			}
			continue
		}
		for r, e := range evaluators {
			if e.names(name) {
				all = append(all, r)
			}
		}
	}
	slices.SortFunc(all, func(a, b schema.GroupResource) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Resource, b.Resource))
	})
	return slices.Compact(all)
}

// Count is the status of a quota: its limits and what the objects of its
// namespace use of them, with a zero where they use nothing. objects gives the
// namespace's objects of a resource.
func Count(q *corev1.ResourceQuota, objects func(schema.GroupResource) iter.Seq[runtime.Object], now time.Time) corev1.ResourceQuotaStatus {
	status := corev1.ResourceQuotaStatus{Hard: corev1.ResourceList{}, Used: corev1.ResourceList{}}
	for name, limit := range q.Spec.Hard {
		status.Hard[name] = limit.DeepCopy()
	}
	for _, r := range Resources(q) {
		for _, name := range Limited(q, r) {
			if _, ok := status.Used[name]; !ok {
				status.Used[name] = resource.Quantity{Format: status.Hard[name].Format}
			}
		}
		for o := range objects(r) {
			status.Used = quotav1.Add(status.Used, Usage(q, r, o, now))
		}
	}
	return status
}

// Current tells whether a quota's status counts what its spec limits.
func Current(q *corev1.ResourceQuota) bool {
	return q.Status.Hard != nil && quotav1.Equals(q.Spec.Hard, q.Status.Hard)
}

// Exceeded words that a request would lead over a quota, as Kubernetes does,
// or is nil when it would not. Only what the request asks for counts: a quota
// that is overdrawn in something else refuses nothing.
func Exceeded(q *corev1.ResourceQuota, used, requested corev1.ResourceList) error {
	asked := quotav1.ResourceNames(requested)
	after := quotav1.Mask(quotav1.Add(used, requested), asked)
	fits, over := quotav1.LessThanOrEqual(after, q.Spec.Hard)
	if fits {
		return nil
	}
	text := func(l corev1.ResourceList) string { return Text(quotav1.Mask(l, over)) }
	return fmt.Errorf("exceeded quota: %s, requested: %s, used: %s, limited: %s", q.Name, text(requested), text(used), text(q.Spec.Hard))
}

// Text lists quantities by name: "cpu=1,pods=2".
func Text(l corev1.ResourceList) string {
	var parts []string
	for name, quantity := range l {
		parts = append(parts, string(name)+"="+quantity.String())
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

func number(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }
