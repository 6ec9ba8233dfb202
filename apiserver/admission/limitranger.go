package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	helper "k8s.io/component-helpers/resource"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// whole is how a pod is summed up: what it runs in beside its containers is not
// its author's to choose.
var whole = helper.PodResourcesOptions{ExcludeOverhead: true}

// limitRangerAnnotation tells which requests and limits were filled in.
const limitRangerAnnotation = "kubernetes.io/limit-ranger"

var (
	limitRanges = schema.GroupResource{Resource: "limitranges"}
	claims      = schema.GroupResource{Resource: "persistentvolumeclaims"}
)

// limitRanger gives containers the requests and limits that a namespace's
// LimitRanges default, and refuses pods and claims outside their bounds.
func limitRanger() write.Step {
	return write.Step{
		Name: "LimitRanger",
		Mutate: func(_ context.Context, view txn.View, r *write.Request) error {
			if !creates(r, podsResource) {
				return nil
			}
			for o := range view.Each(limitRanges, r.Ref.Namespace) {
				defaultLimits(r.Object.(*corev1.Pod), o.(*corev1.LimitRange))
			}
			return nil
		},
		Validate: func(_ context.Context, view txn.View, r *write.Request) error {
			if !limited(r) {
				return nil
			}
			var errs []error
			for o := range view.Each(limitRanges, r.Ref.Namespace) {
				r.Decide(txn.Ref{Resource: limitRanges, Namespace: o.GetNamespace(), Name: o.GetName()})
				for _, item := range o.(*corev1.LimitRange).Spec.Limits {
					errs = append(errs, outside(r.Object, &item)...)
				}
			}
			if len(errs) == 0 {
				return nil
			}
			return forbidden(r, "%w", utilerrors.NewAggregate(errs))
		},
	}
}

// limited tells whether a request says how much an object may use: a new pod,
// the resize of one, and claims, which may grow.
func limited(r *write.Request) bool {
	if r.Object == nil || r.Old != nil && r.Old.GetDeletionTimestamp() != nil {
		return false
	}
	switch r.Ref.Resource {
	case podsResource:
		return creates(r, podsResource) || r.Subresource == "resize"
	case claims:
		return r.Subresource == ""
	}
	return false
}

// defaultLimits fills in what containers leave open and says so in an
// annotation.
func defaultLimits(pod *corev1.Pod, ranges *corev1.LimitRange) {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	for i := range ranges.Spec.Limits {
		if item := &ranges.Spec.Limits[i]; item.Type == corev1.LimitTypeContainer {
			maps.Copy(requests, item.DefaultRequest)
			maps.Copy(limits, item.Default)
		}
	}
	var done []string
	fill := func(kind string, list []corev1.Container) {
		for i := range list {
			c := &list[i]
			if set := missing(&c.Resources.Requests, requests); len(set) > 0 {
				done = append(done, fmt.Sprintf("%s request for %s %s", strings.Join(set, ", "), kind, c.Name))
			}
			if set := missing(&c.Resources.Limits, limits); len(set) > 0 {
				done = append(done, fmt.Sprintf("%s limit for %s %s", strings.Join(set, ", "), kind, c.Name))
			}
		}
	}
	fill("container", pod.Spec.Containers)
	fill("init container", pod.Spec.InitContainers)
	if len(done) > 0 {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[limitRangerAnnotation] = "LimitRanger plugin set: " + strings.Join(done, "; ")
	}
}

// missing adds the quantities that the list lacks and names them, sorted.
func missing(list *corev1.ResourceList, defaults corev1.ResourceList) []string {
	var set []string
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		if _, ok := (*list)[name]; ok {
			continue
		}
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[name] = defaults[name].DeepCopy()
		set = append(set, string(name))
	}
	return set
}

// outside says how an object lies outside the bounds of one item.
func outside(o txn.Object, item *corev1.LimitRangeItem) []error {
	var errs []error
	switch o := o.(type) {
	case *corev1.PersistentVolumeClaim:
		if item.Type == corev1.LimitTypePersistentVolumeClaim {
			errs = bounds(item, o.Spec.Resources.Requests, o.Spec.Resources.Limits)
		}
	case *corev1.Pod:
		switch item.Type {
		case corev1.LimitTypeContainer:
			for _, list := range [][]corev1.Container{o.Spec.InitContainers, o.Spec.Containers} {
				for i := range list {
					errs = append(errs, bounds(item, list[i].Resources.Requests, list[i].Resources.Limits)...)
				}
			}
		case corev1.LimitTypePod:
			errs = bounds(item, helper.PodRequests(o, whole), helper.PodLimits(o, whole))
		}
	}
	return errs
}

// bounds compares requests and limits with an item, resource by resource.
func bounds(item *corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, name := range slices.Sorted(maps.Keys(item.Min)) {
		least := item.Min[name]
		request, ok := requests[name]
		switch limit, limited := limits[name]; {
		case !ok:
			refuse("minimum %s usage per %s is %s.  No request is specified", name, item.Type, least.String())
		case request.Cmp(least) < 0:
			refuse("minimum %s usage per %s is %s, but request is %s", name, item.Type, least.String(), request.String())
		case limited && limit.Cmp(least) < 0:
			refuse("minimum %s usage per %s is %s, but limit is %s", name, item.Type, least.String(), limit.String())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(item.Max)) {
		most := item.Max[name]
		request, requested := requests[name]
		limit, ok := limits[name]
		if item.Type == corev1.LimitTypePersistentVolumeClaim {
			limit, ok = request, requested // claims have requests only
		}
		switch {
		case !ok:
			refuse("maximum %s usage per %s is %s.  No limit is specified", name, item.Type, most.String())
		case limit.Cmp(most) > 0:
			refuse("maximum %s usage per %s is %s, but limit is %s", name, item.Type, most.String(), limit.String())
		case requested && request.Cmp(most) > 0:
			refuse("maximum %s usage per %s is %s, but request is %s", name, item.Type, most.String(), request.String())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(item.MaxLimitRequestRatio)) {
		if err := ratio(item, name, requests[name], limits[name]); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func ratio(item *corev1.LimitRangeItem, name corev1.ResourceName, request, limit resource.Quantity) error {
	most := item.MaxLimitRequestRatio[name]
	for _, part := range []struct {
		what string
		resource.Quantity
	}{{"request", request}, {"limit", limit}} {
		if part.IsZero() {
			return fmt.Errorf("%s max limit to request ratio per %s is %s, but no %s is specified or %s is 0", name, item.Type, most.String(), part.what, part.what)
		}
	}
	if have := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); have > most.AsApproximateFloat64() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, item.Type, most.String(), have)
	}
	return nil
}
