package plan

import (
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	podresource "k8s.io/component-helpers/resource"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

var (
	quotas      = schema.GroupResource{Resource: "resourcequotas"}
	podResource = schema.GroupResource{Resource: "pods"}
)

// use is what objects use of a namespace: of a quota with scopes only what
// their pods use counts.
type use struct {
	objects corev1.ResourceList
	pods    []podUse
}

// podUse is a number of pods of one spec.
type podUse struct {
	spec *corev1.PodSpec
	n    int64 // negative: they go
}

// quotaUse works out what the quotas of a plan's namespaces would count. The
// pods of workloads are counted as if they were all there: the API server lets
// a Deployment in whose pods it will refuse.
func quotaUse(view txn.View, outcomes []txn.Outcome) []v1alpha1.QuotaUse {
	changes := map[string]*use{}
	limits := map[txn.Ref]*corev1.ResourceQuota{}
	for _, o := range outcomes {
		ref := o.Change.Ref
		if ref.Namespace == "" || o.Operation == txn.Unchanged && o.Err == nil {
			continue
		}
		u := changes[ref.Namespace]
		if u == nil {
			u = &use{objects: corev1.ResourceList{}}
			changes[ref.Namespace] = u
		}
		after := planned(o)
		u.add(view, ref.Resource, after, 1)
		u.add(view, ref.Resource, o.Before, -1)
		if q, ok := after.(*corev1.ResourceQuota); ok {
			limits[ref] = q
		}
	}
	var out []v1alpha1.QuotaUse
	for _, ref := range slices.SortedFunc(maps.Keys(limits), txn.Ref.Compare) {
		if _, there := view.Get(ref); !there { // nobody has counted for it yet
			q := limits[ref]
			used := present(view, q).of(q)
			out = append(out, counted(ref, q, used, changes[ref.Namespace], true)...)
		}
	}
	for _, namespace := range slices.Sorted(maps.Keys(changes)) {
		for o := range view.Each(quotas, namespace) {
			ref := txn.Ref{Resource: quotas, Namespace: namespace, Name: o.GetName()}
			now, ok := o.(*corev1.ResourceQuota)
			if !ok {
				continue
			}
			hard := now
			if q := limits[ref]; q != nil {
				hard = q
			}
			out = append(out, counted(ref, hard, now.Status.Used, changes[namespace], hard != now)...)
		}
	}
	return out
}

// present is what a namespace uses of a quota that nobody has counted for.
func present(view txn.View, q *corev1.ResourceQuota) *use {
	u := &use{objects: corev1.ResourceList{}}
	resources := map[schema.GroupResource]bool{podResource: true}
	for _, name := range plainCounts {
		resources[schema.GroupResource{Resource: name}] = true
	}
	for name := range q.Spec.Hard {
		if of, ok := strings.CutPrefix(string(name), "count/"); ok {
			resources[schema.ParseGroupResource(of)] = true
		}
	}
	for of := range resources {
		for o := range view.Each(of, q.Namespace) {
			if of == podResource { // those of workloads are there themselves
				u.add(view, of, o, 1)
			} else {
				u.count(of, o, 1)
			}
		}
	}
	return u
}

// counted are the limits of a quota that changes matter to; of one that is
// itself among them, those too that are broken already.
func counted(ref txn.Ref, q *corev1.ResourceQuota, used corev1.ResourceList, u *use, changed bool) []v1alpha1.QuotaUse {
	change := u.of(q)
	var out []v1alpha1.QuotaUse
	for _, name := range slices.Sorted(maps.Keys(q.Spec.Hard)) {
		more, before := change[name], used[name]
		if hard := q.Spec.Hard[name]; more.IsZero() && (!changed || before.Cmp(hard) <= 0) {
			continue
		}
		after := before.DeepCopy()
		after.Add(more)
		if after.Sign() < 0 {
			after = resource.Quantity{}
		}
		hard := q.Spec.Hard[name]
		out = append(out, v1alpha1.QuotaUse{
			Object: ref.String(), Resource: string(name), Hard: hard, Before: before, After: after, Exceeded: (changed || more.Sign() > 0) && after.Cmp(hard) > 0,
		})
	}
	return out
}

// planned is the object that a change asks for, whether it can be made or not.
func planned(o txn.Outcome) txn.Object {
	if o.Err == nil {
		if o.Operation == txn.Deleted || o.Operation == txn.Terminating {
			return nil
		}
		return o.After
	}
	body, ok := o.Change.Object.(*unstructured.Unstructured)
	if !ok || o.Change.Verb == txn.Delete {
		return o.Before // it stays
	}
	typed, err := scheme.Scheme.New(body.GroupVersionKind())
	if err != nil {
		return body
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(body.Object, typed); err != nil {
		return body
	}
	return typed.(txn.Object)
}

// add counts an object once, or takes it away.
func (u *use) add(view txn.View, of schema.GroupResource, o txn.Object, sign int64) {
	if o == nil {
		return
	}
	u.count(of, o, sign)
	if spec, n := running(view, o); n > 0 {
		u.pods = append(u.pods, podUse{spec, sign * n})
	}
}

// plainCounts are the resources that quotas count by their bare names too.
var plainCounts = []string{"configmaps", "secrets", "services", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas"}

// count counts an object but for the pods that it runs.
func (u *use) count(of schema.GroupResource, o txn.Object, sign int64) {
	count := func(name corev1.ResourceName, n resource.Quantity) {
		if sign < 0 {
			n.Neg()
		}
		total := u.objects[name]
		total.Add(n)
		u.objects[name] = total
	}
	one := *resource.NewQuantity(1, resource.DecimalSI)
	count(corev1.ResourceName("count/"+of.String()), one)
	if slices.Contains(plainCounts, of.String()) {
		count(corev1.ResourceName(of.Resource), one)
	}
	switch o := o.(type) {
	case *corev1.Service:
		ports := *resource.NewQuantity(int64(len(o.Spec.Ports)), resource.DecimalSI)
		switch o.Spec.Type {
		case corev1.ServiceTypeLoadBalancer:
			count(corev1.ResourceServicesLoadBalancers, one)
			if ptr.Deref(o.Spec.AllocateLoadBalancerNodePorts, true) {
				count(corev1.ResourceServicesNodePorts, ports)
			}
		case corev1.ServiceTypeNodePort:
			count(corev1.ResourceServicesNodePorts, ports)
		}
	case *corev1.PersistentVolumeClaim:
		size := o.Spec.Resources.Requests[corev1.ResourceStorage]
		count(corev1.ResourceRequestsStorage, size.DeepCopy())
		if class := ptr.Deref(o.Spec.StorageClassName, ""); class != "" {
			prefix := class + ".storageclass.storage.k8s.io/"
			count(corev1.ResourceName(prefix+"requests.storage"), size.DeepCopy())
			count(corev1.ResourceName(prefix+"persistentvolumeclaims"), one)
		}
	}
}

// running is the pod spec of an object and how many pods of it there shall be.
func running(view txn.View, o txn.Object) (*corev1.PodSpec, int64) {
	spec, ok := workload(o)
	if !ok {
		return nil, 0
	}
	switch w := o.(type) {
	case *corev1.Pod:
		if w.Status.Phase == corev1.PodSucceeded || w.Status.Phase == corev1.PodFailed {
			return nil, 0
		}
		return spec, 1
	case *appsv1.Deployment:
		return spec, int64(ptr.Deref(w.Spec.Replicas, 1))
	case *appsv1.StatefulSet:
		return spec, int64(ptr.Deref(w.Spec.Replicas, 1))
	case *appsv1.ReplicaSet:
		return spec, int64(ptr.Deref(w.Spec.Replicas, 1))
	case *corev1.ReplicationController:
		return spec, int64(ptr.Deref(w.Spec.Replicas, 1))
	case *batchv1.Job:
		if ptr.Deref(w.Spec.Suspend, false) || w.Status.CompletionTime != nil {
			return nil, 0
		}
		n := int64(ptr.Deref(w.Spec.Parallelism, 1))
		if w.Spec.Completions != nil {
			n = min(n, int64(*w.Spec.Completions))
		}
		return spec, n
	case *appsv1.DaemonSet:
		n := int64(w.Status.DesiredNumberScheduled)
		if w.Status.ObservedGeneration == 0 { // a new one: at most on each node
			for range view.Each(nodes, "") {
				n++
			}
		}
		return spec, n
	}
	return nil, 0 // a CronJob runs now and then
}

// of is what counts for a quota.
func (u *use) of(q *corev1.ResourceQuota) corev1.ResourceList {
	out := corev1.ResourceList{}
	scoped := len(q.Spec.Scopes) > 0 || q.Spec.ScopeSelector != nil && len(q.Spec.ScopeSelector.MatchExpressions) > 0
	if !scoped {
		out = maps.Clone(u.objects)
	}
	for _, p := range u.pods {
		if scoped && !inScope(q, p.spec) {
			continue
		}
		add := func(name corev1.ResourceName, each resource.Quantity) {
			total := out[name]
			each.Mul(p.n)
			total.Add(each)
			out[name] = total
		}
		one := *resource.NewQuantity(1, resource.DecimalSI)
		add(corev1.ResourcePods, one.DeepCopy())
		if !scoped {
			add("count/pods", one.DeepCopy())
		}
		pod := &corev1.Pod{Spec: *p.spec}
		for name, n := range podresource.PodRequests(pod, podresource.PodResourcesOptions{}) {
			add("requests."+name, n.DeepCopy())
			if name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
				add(name, n.DeepCopy())
			}
		}
		for name, n := range podresource.PodLimits(pod, podresource.PodResourcesOptions{}) {
			add("limits."+name, n.DeepCopy())
		}
	}
	return out
}

// inScope tells whether a quota's scopes count pods of a spec.
func inScope(q *corev1.ResourceQuota, spec *corev1.PodSpec) bool {
	wanted := make([]corev1.ScopedResourceSelectorRequirement, 0, len(q.Spec.Scopes))
	for _, s := range q.Spec.Scopes {
		wanted = append(wanted, corev1.ScopedResourceSelectorRequirement{ScopeName: s, Operator: corev1.ScopeSelectorOpExists})
	}
	if q.Spec.ScopeSelector != nil {
		wanted = append(wanted, q.Spec.ScopeSelector.MatchExpressions...)
	}
	return !slices.ContainsFunc(wanted, func(r corev1.ScopedResourceSelectorRequirement) bool { return !matches(r, spec) })
}

func matches(r corev1.ScopedResourceSelectorRequirement, spec *corev1.PodSpec) bool {
	bestEffort := !slices.ContainsFunc(slices.Concat(spec.InitContainers, spec.Containers), func(c corev1.Container) bool {
		return len(c.Resources.Requests)+len(c.Resources.Limits) > 0
	})
	ends := spec.ActiveDeadlineSeconds != nil
	switch r.ScopeName {
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort
	case corev1.ResourceQuotaScopeTerminating:
		return ends
	case corev1.ResourceQuotaScopeNotTerminating:
		return !ends
	case corev1.ResourceQuotaScopePriorityClass:
		class := spec.PriorityClassName
		switch r.Operator {
		case corev1.ScopeSelectorOpIn:
			return slices.Contains(r.Values, class)
		case corev1.ScopeSelectorOpNotIn:
			return !slices.Contains(r.Values, class)
		case corev1.ScopeSelectorOpExists:
			return class != ""
		}
		return class == ""
	}
	return false // such as of affinities between namespaces, which are rare
}
