package deployment

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"

	// historyLimit keeps the list of a set's former revisions short.
	historyLimit = 2000
)

// ownAnnotations are not copied from a Deployment to its sets.
var ownAnnotations = map[string]bool{
	corev1.LastAppliedConfigAnnotation: true, revisionAnnotation: true, historyAnnotation: true,
	desiredAnnotation: true, maxAnnotation: true, appsv1.DeprecatedRollbackTo: true,
}

// ensureNew finds or makes the set of the current template.
func (o *rollout) ensureNew(ctx context.Context) error {
	if o.new != nil {
		return o.syncNew(ctx)
	}
	hash, err := templateHash(&o.d.Spec.Template, o.d.Status.CollisionCount)
	if err != nil {
		return err
	}
	rs := o.newSet(hash)
	err = o.Client.Create(ctx, rs)
	switch {
	case apierrors.IsAlreadyExists(err):
		if rs, err = o.existing(ctx, rs.Name); err != nil {
			return err
		}
	case err != nil:
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			o.setCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, "ReplicaSetCreateError", fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, err))
			if _, statusErr := o.writeStatus(ctx); statusErr != nil {
				o.Logger.Warn("write status", "deployment", o.d.Name, "err", statusErr)
			}
		}
		return fmt.Errorf("create replica set: %w", err)
	default:
		o.new = rs
		if n := replicas(rs); n > 0 {
			o.Events.Eventf(o.d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from 0 to %d", rs.Name, n)
		}
	}
	o.new = rs
	if o.hasDeadline() {
		o.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "NewReplicaSetCreated", fmt.Sprintf("Created new replica set %q", rs.Name))
	}
	return o.writeRevision(ctx)
}

// existing settles a name that is taken: ours after a lost answer, or another
// template's with the same hash, which the collision count then avoids.
func (o *rollout) existing(ctx context.Context, name string) (*appsv1.ReplicaSet, error) {
	rs := &appsv1.ReplicaSet{}
	if err := o.Client.Get(ctx, client.ObjectKey{Namespace: o.d.Namespace, Name: name}, rs); err != nil {
		return nil, fmt.Errorf("read replica set %q: %w", name, err)
	}
	if owner := metav1.GetControllerOf(rs); owner != nil && owner.UID == o.d.UID && sameTemplate(&rs.Spec.Template, &o.d.Spec.Template) {
		return rs, nil
	}
	o.d.Status.CollisionCount = ptr.To(ptr.Deref(o.d.Status.CollisionCount, 0) + 1)
	if err := o.Client.Status().Update(ctx, o.d); err != nil {
		return nil, fmt.Errorf("count hash collision: %w", err)
	}
	return nil, fmt.Errorf("replica set name %q is taken by another template", name)
}

func (o *rollout) newSet(hash string) *appsv1.ReplicaSet {
	template := *o.d.Spec.Template.DeepCopy()
	template.Labels = withHash(template.Labels, hash)
	selector := o.d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withHash(selector.MatchLabels, hash)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.d.Namespace, Name: o.d.Name + "-" + hash,
			Labels: maps.Clone(template.Labels), Annotations: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(o.d, kind)},
		},
		Spec: appsv1.ReplicaSetSpec{MinReadySeconds: o.d.Spec.MinReadySeconds, Selector: selector, Template: template},
	}
	n := ptr.Deref(o.d.Spec.Replicas, 1)
	if o.d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		n = GrowNew(LimitsOf(o.d), 0, o.occupied())
	}
	rs.Spec.Replicas = ptr.To(n)
	o.annotate(rs)
	o.annotateSize(rs)
	return rs
}

// syncNew keeps annotations, revision and minReadySeconds of the set up to date.
func (o *rollout) syncNew(ctx context.Context) error {
	changed := o.annotate(o.new)
	if o.new.Spec.MinReadySeconds != o.d.Spec.MinReadySeconds {
		o.new.Spec.MinReadySeconds = o.d.Spec.MinReadySeconds
		changed = true
	}
	if changed {
		if err := o.Client.Update(ctx, o.new); err != nil {
			return fmt.Errorf("update replica set %q: %w", o.new.Name, err)
		}
	}
	if o.hasDeadline() && condition(&o.d.Status, appsv1.DeploymentProgressing) == nil {
		o.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "FoundNewReplicaSet", fmt.Sprintf("Found new replica set %q", o.new.Name))
	}
	return o.writeRevision(ctx)
}

// annotate copies the Deployment's annotations and gives the set the newest
// revision; what it was before goes to its history.
func (o *rollout) annotate(rs *appsv1.ReplicaSet) bool {
	changed := false
	set := func(key, value string) {
		if old, ok := rs.Annotations[key]; !ok || old != value {
			metav1.SetMetaDataAnnotation(&rs.ObjectMeta, key, value)
			changed = true
		}
	}
	for key, value := range o.d.Annotations {
		if !ownAnnotations[key] {
			set(key, value)
		}
	}
	var newest int64
	for _, old := range o.old {
		newest = max(newest, revision(old))
	}
	before := rs.Annotations[revisionAnnotation]
	if revision(rs) > newest {
		return changed
	}
	set(revisionAnnotation, strconv.FormatInt(newest+1, 10))
	if before != "" {
		history := strings.TrimPrefix(rs.Annotations[historyAnnotation]+","+before, ",")
		for len(history) > historyLimit {
			_, history, _ = strings.Cut(history, ",")
		}
		set(historyAnnotation, history)
	}
	return changed
}

func (o *rollout) annotateSize(rs *appsv1.ReplicaSet) bool {
	l := LimitsOf(o.d)
	desired, ceiling := strconv.Itoa(int(l.Replicas)), strconv.Itoa(int(l.Replicas+l.Surge))
	if rs.Annotations[desiredAnnotation] == desired && rs.Annotations[maxAnnotation] == ceiling {
		return false
	}
	metav1.SetMetaDataAnnotation(&rs.ObjectMeta, desiredAnnotation, desired)
	metav1.SetMetaDataAnnotation(&rs.ObjectMeta, maxAnnotation, ceiling)
	return true
}

// writeRevision shows the new set's revision on the Deployment, through its
// status: a change of the annotations of the whole counts as a generation.
func (o *rollout) writeRevision(ctx context.Context) error {
	want := o.new.Annotations[revisionAnnotation]
	if o.d.Annotations[revisionAnnotation] == want {
		return nil
	}
	metav1.SetMetaDataAnnotation(&o.d.ObjectMeta, revisionAnnotation, want)
	if err := o.Client.Status().Update(ctx, o.d); err != nil {
		return fmt.Errorf("write revision: %w", err)
	}
	return nil
}

// trimWhenComplete keeps all sets until the rollout is through: until then each
// may be what somebody wants to go back to.
func (o *rollout) trimWhenComplete(ctx context.Context) error {
	if !o.complete() {
		return nil
	}
	return o.trimHistory(ctx)
}

// trimHistory deletes the oldest empty sets beyond revisionHistoryLimit.
func (o *rollout) trimHistory(ctx context.Context) error {
	if o.d.Spec.RevisionHistoryLimit == nil {
		return nil
	}
	var idle []*appsv1.ReplicaSet
	for _, rs := range o.old {
		if replicas(rs) == 0 && rs.Status.Replicas == 0 && rs.Status.ObservedGeneration >= rs.Generation && rs.DeletionTimestamp == nil {
			idle = append(idle, rs)
		}
	}
	slices.SortStableFunc(idle, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revision(a), revision(b)) })
	for _, rs := range idle[:max(len(idle)-int(*o.d.Spec.RevisionHistoryLimit), 0)] {
		if err := o.Client.Delete(ctx, rs, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete old replica set %q: %w", rs.Name, err)
		}
	}
	return nil
}

func revision(rs *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(rs.Annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0 // never numbered, or spoilt by hand: the oldest
	}
	return n
}

func annotated(rs *appsv1.ReplicaSet, key string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[key], 10, 32)
	return int32(n), err == nil
}

func withHash(labels map[string]string, hash string) map[string]string {
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return labels
}

// templateHash names a template. Equality of templates is decided by
// comparing them; the hash only has to be stable and short.
func templateHash(t *corev1.PodTemplateSpec, collisions *int32) (string, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("hash template: %w", err)
	}
	h := fnv.New32a()
	h.Write(text)
	if collisions != nil {
		fmt.Fprint(h, *collisions)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10)), nil
}
