package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/ownership"
	"github.com/headway-sh/headway/reconciler/claim"
	"github.com/headway-sh/headway/reconciler/podstate"
)

// claim returns the pods that the Job controls. It adopts matching pods that
// nobody controls, tracked in the same write, so that none of them ends
// uncounted, and lets those go that no longer match.
func (r *Reconciler) claim(ctx context.Context, job *batchv1.Job) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil {
		return nil, nil // validation refuses it; retrying cannot help
	}
	var orphans corev1.PodList
	if job.DeletionTimestamp == nil && !Finished(job) && !selector.Empty() {
		if err := r.Client.List(ctx, &orphans, client.InNamespace(job.Namespace), client.MatchingFields{ownership.Orphan: job.Namespace},
			client.MatchingLabelsSelector{Selector: selector}); err != nil {
			return nil, fmt.Errorf("list orphans: %w", err)
		}
	}
	owned, err := claim.Owned[*corev1.Pod](ctx, r.Client, job, &corev1.PodList{}, claim.Shared)
	if err != nil {
		return nil, err
	}
	var mine []*corev1.Pod
	for _, p := range owned {
		if job.DeletionTimestamp != nil || selector.Matches(labels.Set(p.Labels)) {
			mine = append(mine, p)
		} else if err := r.letGo(ctx, job, p); err != nil {
			return nil, err
		}
	}
	for i := range orphans.Items {
		p := &orphans.Items[i]
		if !podstate.IsActive(p) {
			continue
		}
		if err := r.adopt(ctx, job, p); err != nil {
			return nil, err
		}
		mine = append(mine, p)
	}
	return mine, nil
}

func (r *Reconciler) adopt(ctx context.Context, job *batchv1.Job, p *corev1.Pod) error {
	base := p.DeepCopy()
	p.OwnerReferences = append(p.OwnerReferences, *metav1.NewControllerRef(job, kind))
	if !tracked(p) {
		p.Finalizers = append(p.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if err := r.Client.Patch(ctx, p, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("adopt pod %q: %w", p.Name, err)
	}
	return nil
}

func (r *Reconciler) letGo(ctx context.Context, job *batchv1.Job, p *corev1.Pod) error {
	base := p
	p = p.DeepCopy()
	p.OwnerReferences = slices.DeleteFunc(p.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == job.UID })
	p.Finalizers = slices.DeleteFunc(p.Finalizers, func(f string) bool { return f == batchv1.JobTrackingFinalizer })
	err := r.Client.Patch(ctx, p, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("let pod %q go: %w", p.Name, err)
	}
	return nil
}

// release takes the finalizer off pods, all that it can.
func (r *Reconciler) release(ctx context.Context, pods []*corev1.Pod) error {
	var errs []error
	for _, p := range pods {
		if tracked(p) {
			errs = append(errs, r.untrack(ctx, p, ""))
		}
	}
	return errors.Join(errs...)
}

// untrack takes the finalizer off a pod, and nothing else: others write to the
// pod at the same time. A version makes it fail when the pod has changed.
func (r *Reconciler) untrack(ctx context.Context, p *corev1.Pod, version string) error {
	meta := map[string]any{"uid": p.UID, "$deleteFromPrimitiveList/finalizers": []string{batchv1.JobTrackingFinalizer}}
	if version != "" {
		meta["resourceVersion"] = version
	}
	patch, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return err
	}
	target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}
	err = r.Client.Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, patch))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release pod %q: %w", p.Name, err)
	}
	return nil
}

// forsaken releases a pod that is tracked though no Job counts it.
func (r *Reconciler) forsaken(ctx context.Context, req Request) error {
	p := &corev1.Pod{}
	if err := r.Client.Get(ctx, types.NamespacedName{Namespace: req.Namespace, Name: req.Name}, p); err != nil || !tracked(p) {
		return client.IgnoreNotFound(err)
	}
	owner := metav1.GetControllerOf(p)
	if owner == nil {
		jobs, err := r.matching(ctx, r.Client, p)
		if err != nil || len(jobs) > 0 && podstate.IsActive(p) {
			return err // one of them adopts it
		}
		return r.untrack(ctx, p, p.ResourceVersion)
	}
	if owner.Kind != kind.Kind {
		return nil // somebody else's finalizer of the same name
	}
	job := &batchv1.Job{}
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: owner.Name}, job)
	if client.IgnoreNotFound(err) != nil || err == nil && job.UID == owner.UID {
		return client.IgnoreNotFound(err)
	}
	return r.untrack(ctx, p, p.ResourceVersion)
}

// matching are the unfinished Jobs that would adopt a pod.
func (r *Reconciler) matching(ctx context.Context, from client.Reader, p *corev1.Pod) ([]*batchv1.Job, error) {
	var list batchv1.JobList
	if err := from.List(ctx, &list, client.InNamespace(p.Namespace)); err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	var jobs []*batchv1.Job
	for i := range list.Items {
		job := &list.Items[i]
		if claim.Wants(job.Spec.Selector, p) && job.DeletionTimestamp == nil && !Finished(job) && ours(job) {
			jobs = append(jobs, job)
		}
	}
	return jobs, nil
}
