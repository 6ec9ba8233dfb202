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

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

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
				r.Decide(txn.Ref{Resource: limitRanges, Namespace: o.GetNamespace(), Name: o.GetName()})
				defaultLimits(r.Object.(*corev1.Pod), o.(*corev1.LimitRange))
			}
			return nil
		},
		Validate: func(_ context.Context, view txn.View, r *write.Request) error {
			if r.Object == nil || r.Ref.Resource != podsResource && r.Ref.Resource != claims {
				return nil
			}
			if r.Operation != write.OperationCreate && !(r.Ref.Resource == podsResource && r.Subresource == "resize") || r.Operation == write.OperationCreate && r.Subresource != "" {
				return nil
			}
			var errs []error
			for o := range view.Each(limitRanges, r.Ref.Namespace) {
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

// defaultLimits fills in what containers leave open and says so in an
// annotation.
func defaultLimits(pod *corev1.Pod, ranges *corev1.LimitRange) {
	var done []string
	fill := func(kind string, c *corev1.Container, item *corev1.LimitRangeItem) {
		if set := missing(&c.Resources.Requests, item.DefaultRequest); len(set) > 0 {
			done = append(done, fmt.Sprintf("%s request for %s %s", strings.Join(set, ", "), kind, c.Name))
		}
		if set := missing(&c.Resources.Limits, item.Default); len(set) > 0 {
			done = append(done, fmt.Sprintf("%s limit for %s %s", strings.Join(set, ", "), kind, c.Name))
		}
	}
	for i := range ranges.Spec.Limits {
		item := &ranges.Spec.Limits[i]
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		for j := range pod.Spec.Containers {
			fill("container", &pod.Spec.Containers[j], item)
		}
		for j := range pod.Spec.InitContainers {
			fill("init container", &pod.Spec.InitContainers[j], item)
		}
	}
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
			errs = bounds(item, podSum(o, requestsOf), podSum(o, limitsOf))
		}
	}
	return errs
}

func requestsOf(c *corev1.Container) corev1.ResourceList { return c.Resources.Requests }
func limitsOf(c *corev1.Container) corev1.ResourceList   { return c.Resources.Limits }

// podSum adds up the containers, or takes an init container that wants more.
func podSum(pod *corev1.Pod, of func(*corev1.Container) corev1.ResourceList) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for i := range pod.Spec.Containers {
		for name, q := range of(&pod.Spec.Containers[i]) {
			have := sum[name]
			have.Add(q)
			sum[name] = have
		}
	}
	for i := range pod.Spec.InitContainers {
		for name, q := range of(&pod.Spec.InitContainers[i]) {
			if have, ok := sum[name]; !ok || have.Cmp(q) < 0 {
				sum[name] = q
			}
		}
	}
	return sum
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
	if request.IsZero() || limit.IsZero() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, item.Type, most.String())
	}
	if have := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); have > most.AsApproximateFloat64() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, item.Type, most.String(), have)
	}
	return nil
}
