package statefulset

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// errClaimGoing says that a pod has to wait until a former claim of its name
// has gone.
var errClaimGoing = errors.New("the claim is being deleted")

// ensureClaims makes the claims of an ordinal that are missing.
func (r *Reconciler) ensureClaims(ctx context.Context, set *appsv1.StatefulSet, ordinal int) error {
	for i := range set.Spec.VolumeClaimTemplates {
		want := newClaim(set, &set.Spec.VolumeClaimTemplates[i], ordinal)
		there := &corev1.PersistentVolumeClaim{}
		err := r.Client.Get(ctx, client.ObjectKeyFromObject(want), there)
		switch {
		case err == nil && (there.DeletionTimestamp != nil || leftBehind(there, podName(set, ordinal))):
			return fmt.Errorf("claim %q: %w", want.Name, errClaimGoing)
		case err == nil:
			continue
		case !apierrors.IsNotFound(err):
			return fmt.Errorf("read claim %q: %w", want.Name, err)
		}
		if err := r.Client.Create(ctx, want); err != nil {
			r.Events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "create Claim %s for Pod %s in StatefulSet %s failed error: %v",
				want.Name, podName(set, ordinal), set.Name, err)
			return fmt.Errorf("create claim %q: %w", want.Name, err)
		}
		r.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "create Claim %s Pod %s in StatefulSet %s success",
			want.Name, podName(set, ordinal), set.Name)
	}
	return nil
}

// leftBehind tells whether a claim goes with a former pod of the name, which is
// not there any more: the garbage collector is about to delete it.
func leftBehind(c *corev1.PersistentVolumeClaim, pod string) bool {
	return slices.ContainsFunc(c.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == podKind.Kind && o.Name == pod })
}

// ownClaims makes the claims of a pod belong to whom the retention policy says.
func (r *Reconciler) ownClaims(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	ordinal := Ordinal(set, pod.Name)
	for i := range set.Spec.VolumeClaimTemplates {
		c := &corev1.PersistentVolumeClaim{}
		key := client.ObjectKey{Namespace: set.Namespace, Name: claimName(set, &set.Spec.VolumeClaimTemplates[i], ordinal)}
		if err := r.Client.Get(ctx, key, c); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return fmt.Errorf("read claim %q: %w", key.Name, err)
		}
		owners := Owners(set, pod, c.OwnerReferences)
		if equality.Semantic.DeepEqual(owners, c.OwnerReferences) || c.DeletionTimestamp != nil {
			continue
		}
		c.OwnerReferences = owners
		if err := r.Client.Update(ctx, c); err != nil {
			return fmt.Errorf("update claim %q: %w", c.Name, err)
		}
	}
	return nil
}

// Owners gives the owners of a pod's claim: the set when claims go with it, the
// pod when it is to go and claims go with scaling. Others stay; a claim that
// somebody else controls is left alone.
func Owners(set *appsv1.StatefulSet, pod *corev1.Pod, now []metav1.OwnerReference) []metav1.OwnerReference {
	var others []metav1.OwnerReference
	for _, o := range now {
		mine := o.UID == set.UID || o.UID == pod.UID || o.Kind == podKind.Kind && o.Name == pod.Name && o.APIVersion == podKind.Version
		if mine {
			continue
		}
		if o.Controller != nil && *o.Controller {
			return now
		}
		others = append(others, o)
	}
	policy := set.Spec.PersistentVolumeClaimRetentionPolicy
	if policy == nil {
		return others
	}
	const gone = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	switch condemned := !inRange(set, Ordinal(set, pod.Name)); {
	case policy.WhenScaled == gone && condemned:
		return append(others, *metav1.NewControllerRef(pod, podKind))
	case policy.WhenDeleted == gone:
		return append(others, *metav1.NewControllerRef(set, kind))
	}
	return others
}
