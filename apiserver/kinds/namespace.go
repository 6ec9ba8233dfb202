package kinds

import (
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func namespaceKind() *kind.Kind {
	p := partsOf(func(o *corev1.Namespace) *corev1.NamespaceSpec { return &o.Spec }, func(o *corev1.Namespace) *corev1.NamespaceStatus { return &o.Status })
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("Namespace"),
		Plural:        "namespaces",
		Singular:      "namespace",
		ShortNames:    []string{"ns"},
		StoragePrefix: "namespaces",
		Verbs:         []string{"create", "delete", "get", "list", "patch", "update", "watch"}, // all of them at once is nobody's wish
		New:           func() txn.Object { return &corev1.Namespace{} },
		NewList:       func() runtime.Object { return &corev1.NamespaceList{} },
		Name:          apivalidation.NameIsDNSLabel,
		Default:       defaults(defaultNamespace),
		Prepare:       prepare(prepareNamespace),
		Delete:        deleteNamespace,
		Held:          func(o txn.Object) bool { return len(o.(*corev1.Namespace).Spec.Finalizers) > 0 },
		Subresources: map[string]kind.Subresource{
			"status":   p.statusSubresource(checkNamespaceStatus),
			"finalize": {Verbs: []string{"update"}, Prepare: prepare(finalizeNamespace), Validate: validate(checkFinalize)},
		},
		Fields: map[string]func(txn.Object) string{
			"name":         func(o txn.Object) string { return o.GetName() },
			"status.phase": text(func(o *corev1.Namespace) string { return string(o.Status.Phase) }),
		},
		Validate: validate(checkNamespace),
		Columns:  []column{nameColumn(), str("Status", "The status of the namespace"), ageColumn()},
		Row: row(func(o *corev1.Namespace, now time.Time) []any {
			return []any{o.Name, string(o.Status.Phase), age(o, now)}
		}),
	}
}

func defaultNamespace(o *corev1.Namespace) {
	setDefault(&o.Status.Phase, corev1.NamespaceActive)
	if o.Name == "" {
		return
	}
	if o.Labels == nil {
		o.Labels = map[string]string{}
	}
	o.Labels[corev1.LabelMetadataName] = o.Name
}

// prepareNamespace keeps spec.finalizers out of everybody's hands but the
// finalize subresource's; a new namespace has the one that its contents hold.
func prepareNamespace(o, old *corev1.Namespace) {
	if old != nil {
		o.Spec.Finalizers, o.Status = old.Spec.Finalizers, old.Status
		return
	}
	o.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	if !slices.Contains(o.Spec.Finalizers, corev1.FinalizerKubernetes) {
		o.Spec.Finalizers = append(o.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
}

func finalizeNamespace(o, old *corev1.Namespace) {
	o.Status = old.Status
}

// deleteNamespace begins the deletion: the namespace is Terminating until its
// contents are gone and the last finalizer is taken from its spec.
func deleteNamespace(o txn.Object, _ *metav1.DeleteOptions, now time.Time) kind.Deletion {
	if len(o.(*corev1.Namespace).Spec.Finalizers) == 0 {
		return kind.Deletion{}
	}
	c := o.DeepCopyObject().(*corev1.Namespace)
	c.Status.Phase = corev1.NamespaceTerminating
	if c.DeletionTimestamp == nil {
		c.DeletionTimestamp = &metav1.Time{Time: now}
	}
	return kind.Deletion{Changed: c}
}
