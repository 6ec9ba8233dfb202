package write

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
)

// admitted is how the parts of an eviction are planned: the whole was
// authorized and admitted before.
var admitted = manner{authorized: true, admitted: true}

var budgets = policyv1.Resource("poddisruptionbudgets")

// Evict deletes a pod as its disruption budget allows: an eviction that would
// take too many is a 429, to be tried again. Who may evict has been authorized
// before; the right to delete pods is not needed. What admission has to tell,
// of the eviction and of the deletion, comes with an error too.
//
// See https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/.
func (p *Path) Evict(ctx context.Context, identity txn.Identity, pod txn.Ref, eviction *policyv1.Eviction, options Options) (Done, error) {
	deletion := txn.Change{Verb: txn.Delete, Ref: pod, Version: "v1"}
	if o := eviction.DeleteOptions; o != nil {
		deletion.Preconditions, deletion.Propagation, deletion.GracePeriod = o.Preconditions, o.PropagationPolicy, o.GracePeriodSeconds
		options.DryRun = options.DryRun || len(o.DryRun) > 0
	}
	whole := txn.Change{Ref: pod, Version: "v1", Subresource: "eviction", DryRun: options.DryRun}
	done, err := p.Admit(ctx, identity, whole, OperationCreate, eviction)
	if err != nil {
		return done, err
	}
	for round := 1; ; round++ {
		view, err := p.Store.View(ctx)
		if err != nil {
			return done, unavailable(err)
		}
		stored, ok := view.Get(pod)
		if !ok {
			return done, apierrors.NewNotFound(pod.Resource, pod.Name)
		}
		budget, err := budgetOf(view, stored.(*corev1.Pod))
		if err != nil {
			return done, err
		}
		if budget != nil || deletion.Preconditions != nil {
			// What may not be deleted anyway must not cost the budget anything.
			if _, err := p.do(ctx, identity, deletion, Options{DryRun: true, Epoch: options.Epoch}, admitted); err != nil {
				return done, err
			}
		}
		if budget != nil {
			err = p.spend(ctx, identity, budget, pod.Name, options)
		}
		switch {
		case err == nil:
			if deletion.Preconditions, err = p.mark(ctx, identity, pod, deletion.Preconditions, options); err != nil {
				return done, err
			}
			gone, err := p.do(ctx, identity, deletion, options, admitted)
			done.Warnings = append(done.Warnings, gone.Warnings...)
			return done, err
		case !apierrors.IsConflict(err) || round == rounds:
			return done, err
		}
	}
}

// mark says in the pod's status why it goes, for those who judge how it ended.
// Preconditions that name the version before are met by the one after.
func (p *Path) mark(ctx context.Context, identity txn.Identity, ref txn.Ref, only *metav1.Preconditions, options Options) (*metav1.Preconditions, error) {
	for round := 1; ; round++ {
		view, err := p.Store.View(ctx)
		if err != nil {
			return only, unavailable(err)
		}
		stored, ok := view.Get(ref)
		if !ok || options.DryRun {
			return only, nil
		}
		pod := stored.(*corev1.Pod)
		asked := only != nil && only.ResourceVersion != nil
		changed := only != nil && only.UID != nil && *only.UID != pod.UID || asked && *only.ResourceVersion != pod.ResourceVersion
		if changed || pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			return only, nil // the deletion itself will tell
		}
		done, err := p.do(ctx, identity, txn.Change{
			Verb: txn.Update, Ref: ref, Version: "v1", Subresource: "status", Object: evicted(pod, metav1.NewTime(p.Clock.Now())),
		}, options, admitted)
		if apierrors.IsConflict(err) && round < rounds {
			continue
		}
		if err == nil && asked {
			only = only.DeepCopy()
			only.ResourceVersion = ptr.To(done.Object.GetResourceVersion())
		}
		return only, err
	}
}

// evicted is the pod with the condition that it is evicted.
func evicted(pod *corev1.Pod, now metav1.Time) *corev1.Pod {
	pod = pod.DeepCopy()
	condition := corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI",
		Message: "Eviction API: evicting", LastTransitionTime: now}
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == condition.Type {
			if c.Status == condition.Status {
				condition.LastTransitionTime = c.LastTransitionTime
			}
			*c = condition
			return pod
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, condition)
	return pod
}

// budgetOf finds the one budget that an eviction of the pod counts against;
// nil when none does: there is none, or the pod serves nobody anyway.
func budgetOf(view txn.View, pod *corev1.Pod) (*policyv1.PodDisruptionBudget, error) {
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodPending {
		return nil, nil
	}
	var found *policyv1.PodDisruptionBudget
	for o := range view.Each(budgets, pod.Namespace) {
		b := o.(*policyv1.PodDisruptionBudget)
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil || !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		if found != nil {
			return nil, apierrors.NewInternalError(fmt.Errorf("pod %s/%s has more than one PodDisruptionBudget, %s and %s, which an eviction cannot satisfy", pod.Namespace, pod.Name, found.Name, b.Name))
		}
		found = b
	}
	if found != nil && !ready(pod) && unreadyMayGo(found) {
		return nil, nil
	}
	return found, nil
}

func ready(pod *corev1.Pod) bool {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// unreadyMayGo tells whether a budget lets pods go that are not ready (KEP-3017).
func unreadyMayGo(b *policyv1.PodDisruptionBudget) bool {
	if b.Spec.UnhealthyPodEvictionPolicy != nil && *b.Spec.UnhealthyPodEvictionPolicy == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.DesiredHealthy > 0 && b.Status.CurrentHealthy >= b.Status.DesiredHealthy
}

// spend takes one disruption off a budget, or refuses with a 429. The write
// compares the budget's revision, so that two evictions never take the last
// one both.
func (p *Path) spend(ctx context.Context, identity txn.Identity, b *policyv1.PodDisruptionBudget, pod string, options Options) error {
	const refusal = "Cannot evict pod as it would violate the pod's disruption budget."
	const soon = 10 // seconds until a budget's status is worth another look
	if b.Status.ObservedGeneration < b.Generation {
		return overBudget(apierrors.NewTooManyRequests(refusal, soon), fmt.Sprintf("The disruption budget %s is still being processed by the server.", b.Name))
	}
	if b.Status.DisruptionsAllowed <= 0 {
		return overBudget(apierrors.NewTooManyRequests(refusal, 0), fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy))
	}
	spent := b.DeepCopy()
	spent.Status.DisruptionsAllowed--
	if spent.Status.DisruptedPods == nil {
		spent.Status.DisruptedPods = map[string]metav1.Time{}
	}
	spent.Status.DisruptedPods[pod] = metav1.NewTime(p.Clock.Now())
	_, err := p.do(ctx, identity, txn.Change{
		Verb: txn.Update, Ref: txn.Ref{Resource: budgets, Namespace: b.Namespace, Name: b.Name}, Version: "v1", Subresource: "status", Object: spent,
	}, options, admitted)
	return err
}

func overBudget(err *apierrors.StatusError, why string) error {
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: why})
	return err
}
