package admission

import (
	"cmp"
	"context"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
	"github.com/headway-sh/headway/internal/storageclass"
)

var (
	storageClasses = schema.GroupResource{Group: storagev1.GroupName, Resource: "storageclasses"}
	ingressClasses = schema.GroupResource{Group: networkingv1.GroupName, Resource: "ingressclasses"}
	ingresses      = schema.GroupResource{Group: networkingv1.GroupName, Resource: "ingresses"}
)

// Annotations that mark a default class, and those that chose one before there
// was a field for it.
const (
	oldIngressClass = "kubernetes.io/ingress.class"
)

// defaultStorageClass gives new claims that name no class the default one. A
// claim that names the empty class wants none.
func defaultStorageClass() write.Step {
	return write.Step{Name: "DefaultStorageClass", Mutate: func(_ context.Context, view txn.View, r *write.Request) error {
		if !creates(r, claims) {
			return nil
		}
		claim := r.Object.(*corev1.PersistentVolumeClaim)
		if _, old := claim.Annotations[corev1.BetaStorageClassAnnotation]; old || claim.Spec.StorageClassName != nil {
			return nil
		}
		if name := defaultClass(view, r, storageClasses, storageclass.DefaultAnnotation, storageclass.OldDefaultAnnotation); name != "" {
			claim.Spec.StorageClassName = &name
		}
		return nil
	}}
}

// defaultIngressClass gives new Ingresses that name no class the default one.
func defaultIngressClass() write.Step {
	return write.Step{Name: "DefaultIngressClass", Mutate: func(_ context.Context, view txn.View, r *write.Request) error {
		if !creates(r, ingresses) {
			return nil
		}
		ingress := r.Object.(*networkingv1.Ingress)
		if _, old := ingress.Annotations[oldIngressClass]; old || ingress.Spec.IngressClassName != nil {
			return nil
		}
		if name := defaultClass(view, r, ingressClasses, networkingv1.AnnotationIsDefaultIngressClass); name != "" {
			ingress.Spec.IngressClassName = &name
		}
		return nil
	}}
}

// defaultClass is the class with one of the annotations; of several the newest,
// and of those of one second the first by name.
func defaultClass(view txn.View, r *write.Request, classes schema.GroupResource, annotations ...string) string {
	var found txn.Object
	for class := range view.Each(classes, "") {
		for _, a := range annotations {
			if class.GetAnnotations()[a] == "true" && (found == nil || newer(class, found)) {
				found = class
			}
		}
	}
	if found == nil {
		return ""
	}
	r.Decide(txn.Ref{Resource: classes, Name: found.GetName()})
	return found.GetName()
}

func newer(a, b txn.Object) bool {
	return cmp.Or(b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName())) < 0
}
