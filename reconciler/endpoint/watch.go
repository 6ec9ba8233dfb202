package endpoint

import (
	"context"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/podstate"
)

// Services maps a pod's change to the Services that select it before or after;
// changes that no endpoint shows ask for nothing.
func Services(deps controller.Deps) func(ctx context.Context, before, after *corev1.Pod) []reconcile.Request {
	return func(ctx context.Context, before, after *corev1.Pod) []reconcile.Request {
		if before != nil && after != nil && same(before, after) {
			return nil
		}
		pods := controller.Present(before, after)
		var services corev1.ServiceList
		if err := deps.Cache.List(ctx, &services, client.InNamespace(pods[0].Namespace)); err != nil {
			deps.Logger.Warn("list services", "err", err)
			return nil
		}
		var requests []reconcile.Request
		for i := range services.Items {
			s := &services.Items[i]
			if len(s.Spec.Selector) == 0 {
				continue
			}
			selector := labels.SelectorFromSet(s.Spec.Selector)
			for _, p := range pods {
				if selector.Matches(labels.Set(p.Labels)) {
					requests = append(requests, controller.Request(s))
					break
				}
			}
		}
		return requests
	}
}

func same(a, b *corev1.Pod) bool {
	return podstate.IsReady(a) == podstate.IsReady(b) && podstate.IsTerminal(a) == podstate.IsTerminal(b) &&
		(a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) && a.Spec.NodeName == b.Spec.NodeName &&
		a.Status.PodIP == b.Status.PodIP && reflect.DeepEqual(a.Status.PodIPs, b.Status.PodIPs) && reflect.DeepEqual(a.Labels, b.Labels)
}

// Pods reads the pods that a Service selects.
func Pods(ctx context.Context, c client.Reader, s *corev1.Service) ([]*corev1.Pod, error) {
	var list corev1.PodList
	if err := c.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels(s.Spec.Selector)); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	pods := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return pods, nil
}
