package gitsource

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// environmentObjects makes those of an environment's namespace that are
// missing or say something else than the spec, the namespace first. What has to
// go before it can come again is a reason for a pause.
func (s *source) environmentObjects(view txn.View, e *v1alpha1.EnvironmentStatus, pause *string) []txn.Change {
	spec, label := s.object.Spec.Previews.Environments, map[string]string{v1alpha1.LabelEnvironmentOf: s.name}
	named := metav1.ObjectMeta{Namespace: e.Namespace, Name: v1alpha1.EnvironmentAccount, Labels: label}
	all := []struct {
		group, resource, version string
		object                   txn.Object
	}{
		{"", "namespaces", "v1", &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{
			Name: e.Namespace, Labels: map[string]string{
				v1alpha1.LabelEnvironmentOf: s.name, "pod-security.kubernetes.io/enforce": string(spec.PodSecurity), "pod-security.kubernetes.io/warn": string(spec.PodSecurity),
			},
		}}},
		// Pods of the first commit run as it; the controller that makes it comes later.
		{"", "serviceaccounts", "v1", &corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: metav1.ObjectMeta{
			Namespace: e.Namespace, Name: "default",
		}}},
		{"", "serviceaccounts", "v1", &corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: named}},
		{"rbac.authorization.k8s.io", "rolebindings", "v1", &rbacv1.RoleBinding{
			TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"}, ObjectMeta: named,
			RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: spec.ClusterRole},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: e.Namespace, Name: v1alpha1.EnvironmentAccount}},
		}},
	}
	if len(spec.Quota) > 0 {
		hard := corev1.ResourceList{}
		for _, name := range slices.Sorted(maps.Keys(spec.Quota)) {
			hard[corev1.ResourceName(name)] = spec.Quota[name]
		}
		all = append(all, struct {
			group, resource, version string
			object                   txn.Object
		}{"", "resourcequotas", "v1", &corev1.ResourceQuota{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuota"}, ObjectMeta: named, Spec: corev1.ResourceQuotaSpec{Hard: hard},
		}})
	}
	var changes []txn.Change
	quota := txn.Ref{Resource: schema.GroupResource{Resource: "resourcequotas"}, Namespace: e.Namespace, Name: v1alpha1.EnvironmentAccount}
	if _, ok := view.Get(quota); ok && len(spec.Quota) == 0 {
		changes = append(changes, txn.Change{Verb: txn.Delete, Ref: quota})
	}
	for _, one := range all {
		ref := txn.Ref{Resource: schema.GroupResource{Group: one.group, Resource: one.resource}, Namespace: one.object.GetNamespace(), Name: one.object.GetName()}
		change := txn.Change{Verb: txn.Create, Ref: ref, Version: one.version, Object: one.object, FieldManager: "headway"}
		if is, ok := view.Get(ref); ok {
			if change.Object = outdated(is, one.object); change.Object == nil {
				continue
			}
			change.Verb = txn.Update
			if _, fixed := one.object.(*rbacv1.RoleBinding); fixed { // whose role never changes
				change, *pause = txn.Change{Verb: txn.Delete, Ref: ref}, "its account gets another role"
			}
		}
		changes = append(changes, change)
	}
	return changes
}

// outdated is what an object of an environment has to be; nil: it is so.
func outdated(is, want txn.Object) txn.Object {
	next := is.DeepCopyObject().(txn.Object)
	switch want := want.(type) {
	case *corev1.Namespace:
		labels := maps.Clone(is.GetLabels())
		maps.Copy(labels, want.Labels) // of which it has at least one
		next.SetLabels(labels)
	case *corev1.ResourceQuota:
		if quota, ok := next.(*corev1.ResourceQuota); ok {
			quota.Spec = want.Spec
		}
	case *rbacv1.RoleBinding:
		if binding, ok := next.(*rbacv1.RoleBinding); ok {
			binding.RoleRef = want.RoleRef
		}
	}
	if equality.Semantic.DeepEqual(is, next) {
		return nil
	}
	next.GetObjectKind().SetGroupVersionKind(want.GetObjectKind().GroupVersionKind())
	next.SetResourceVersion("")
	next.SetManagedFields(nil)
	return next
}
