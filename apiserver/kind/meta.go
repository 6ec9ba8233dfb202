package kind

import (
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
)

// ValidateMeta checks an object's metadata by the rules of all kinds and by the
// kind's own rule for names; against old (nil on create) also what may not
// change.
func (k *Kind) ValidateMeta(o, old txn.Object) field.ErrorList {
	path := field.NewPath("metadata")
	meta := objectMeta(o)
	name := k.Name
	if name == nil {
		name = apivalidation.NameIsDNSSubdomain
	}
	errs := apivalidation.ValidateObjectMeta(meta, k.Namespaced, name, path)
	if _, typed := o.(metav1.ObjectMetaAccessor); typed && !k.PlainFinalizers {
		errs = append(errs, validateFinalizers(meta.Finalizers, path.Child("finalizers"))...)
	}
	if old != nil {
		errs = append(errs, apivalidation.ValidateObjectMetaUpdate(meta, objectMeta(old), path)...)
	}
	return errs
}

// validateFinalizers refuses finalizers of built-in kinds that belong to nobody:
// a name without a domain is one of Kubernetes' own.
func validateFinalizers(finalizers []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, f := range finalizers {
		switch f {
		case metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents, "kubernetes":
			continue
		}
		if !strings.Contains(f, "/") {
			errs = append(errs, field.Invalid(path.Index(i), f, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

// objectMeta gives the metadata as a struct: a typed object's own, or a copy of
// an unstructured one's.
func objectMeta(o txn.Object) *metav1.ObjectMeta {
	if a, ok := o.(metav1.ObjectMetaAccessor); ok {
		if m, ok := a.GetObjectMeta().(*metav1.ObjectMeta); ok {
			return m
		}
	}
	return copyMeta(o)
}

func copyMeta(o metav1.Object) *metav1.ObjectMeta {
	return &metav1.ObjectMeta{
		Name: o.GetName(), GenerateName: o.GetGenerateName(), Namespace: o.GetNamespace(), SelfLink: o.GetSelfLink(),
		UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(), Generation: o.GetGeneration(),
		CreationTimestamp: o.GetCreationTimestamp(), DeletionTimestamp: o.GetDeletionTimestamp(),
		DeletionGracePeriodSeconds: o.GetDeletionGracePeriodSeconds(), Labels: o.GetLabels(), Annotations: o.GetAnnotations(),
		OwnerReferences: o.GetOwnerReferences(), Finalizers: o.GetFinalizers(), ManagedFields: o.GetManagedFields(),
	}
}
