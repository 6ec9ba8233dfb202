package horizontalpodautoscaler

import (
	"context"
	"fmt"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "horizontal-pod-autoscaler"

// period is the time between two looks at an autoscaler's metrics.
const period = 15 * time.Second

// Reconciler looks after one autoscaler at a time.
type Reconciler struct {
	controller.Deps

	mu      sync.Mutex // guards history
	history map[types.NamespacedName]*memory
}

// memory is the history of an autoscaler; another of its name begins anew.
type memory struct {
	History
	uid types.UID
}

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name, deps, 5, NewReconciler(deps),
		controller.On(deps.Cache, &autoscalingv2.HorizontalPodAutoscaler{}, func(_ context.Context, before, after *autoscalingv2.HorizontalPodAutoscaler) []reconcile.Request {
			if before != nil && after != nil && before.Generation == after.Generation {
				return nil // its own status
			}
			return []reconcile.Request{controller.Request(controller.Present(after, before)[0])}
		}))
}

// NewReconciler returns a reconciler that remembers nothing yet.
func NewReconciler(deps controller.Deps) *Reconciler {
	return &Reconciler{Deps: deps, history: map[types.NamespacedName]*memory{}}
}

// remembered is the autoscaler's history; none of an autoscaler that has gone.
func (r *Reconciler) remembered(key types.NamespacedName, uid types.UID) *History {
	r.mu.Lock()
	defer r.mu.Unlock()
	if uid == "" {
		delete(r.history, key)
		return nil
	}
	m := r.history[key]
	if m == nil || m.uid != uid {
		m = &memory{uid: uid}
		r.history[key] = m
	}
	return &m.History
}

// Reconcile looks once, and asks to be called again after the period.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := r.Client.Get(ctx, req.NamespacedName, hpa); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.remembered(req.NamespacedName, "")
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if hpa.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	d := r.pass(ctx, hpa, r.remembered(req.NamespacedName, hpa.UID))
	for _, e := range d.Tell {
		r.Events.Event(hpa, e.Type, e.Reason, e.Message)
	}
	if !equality.Semantic.DeepEqual(hpa.Status, d.Status) {
		hpa.Status = d.Status
		if err := r.Client.Status().Update(ctx, hpa); err != nil {
			return reconcile.Result{}, fmt.Errorf("write status: %w", err)
		}
	}
	return reconcile.Result{RequeueAfter: period}, nil
}

// pass reads, decides and scales. What goes wrong is in the status: the next
// look is the next try.
func (r *Reconciler) pass(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, h *History) Decision {
	now := r.Clock.Now()
	ref := hpa.Spec.ScaleTargetRef
	target := controller.NewObject(r.Client, schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind))
	target.SetNamespace(hpa.Namespace)
	target.SetName(ref.Name)
	scale := &autoscalingv1.Scale{}
	if err := r.Client.SubResource("scale").Get(ctx, target, scale); err != nil {
		return refused(hpa, autoscalingv2.AbleToScale, "FailedGetScale", fmt.Sprintf("the HPA controller was unable to get the target's current scale: %v", err), now)
	}
	selector, err := labels.Parse(scale.Status.Selector)
	if err != nil || selector.Empty() {
		return refused(hpa, autoscalingv2.ScalingActive, "InvalidSelector", "the HPA target's scale is missing a selector", now)
	}
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.InNamespace(hpa.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return refused(hpa, autoscalingv2.ScalingActive, "FailedGetPods", fmt.Sprintf("unable to get pods while calculating replica count: %v", err), now)
	}
	seen := Seen{Replicas: scale.Spec.Replicas, Status: scale.Status.Replicas, Readings: r.readings(ctx, hpa, selector)}
	for i := range list.Items {
		seen.Pods = append(seen.Pods, &list.Items[i])
	}
	d := Decide(hpa, seen, h, now)
	if d.Why != "" {
		r.scale(ctx, &d, h, target, scale, now)
	}
	return d
}

func (r *Reconciler) scale(ctx context.Context, d *Decision, h *History, target client.Object, scale *autoscalingv1.Scale, now time.Time) {
	before := scale.Spec.Replicas
	scale.Spec.Replicas = d.Replicas
	if err := r.Client.SubResource("scale").Update(ctx, target, client.WithSubResourceBody(scale)); err != nil {
		d.Tell = append(d.Tell, Event{corev1.EventTypeWarning, "FailedRescale", fmt.Sprintf("New size: %d; reason: %s; error: %v", d.Replicas, d.Why, err)})
		d.say(autoscalingv2.AbleToScale, false, "FailedUpdateScale", fmt.Sprintf("the HPA controller was unable to update the target scale: %v", err), now)
		d.Status.DesiredReplicas = before
		return
	}
	h.done(before, d.Replicas, now)
	d.Tell = append(d.Tell, Event{corev1.EventTypeNormal, "SuccessfulRescale", fmt.Sprintf("New size: %d; reason: %s", d.Replicas, d.Why)})
	d.say(autoscalingv2.AbleToScale, true, "SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", d.Replicas), now)
	d.Status.LastScaleTime = &metav1.Time{Time: now}
}

// refused is a pass that could not even ask the metrics.
func refused(hpa *autoscalingv2.HorizontalPodAutoscaler, kind autoscalingv2.HorizontalPodAutoscalerConditionType, reason, message string, now time.Time) Decision {
	d := Decision{Status: *hpa.Status.DeepCopy(), Tell: []Event{{corev1.EventTypeWarning, reason, message}}}
	if kind != autoscalingv2.AbleToScale {
		d.say(autoscalingv2.AbleToScale, true, "SucceededGetScale", gotScale, now)
	}
	d.say(kind, false, reason, message, now)
	return d
}
