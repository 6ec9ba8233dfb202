package kinds

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// parts says where a kind keeps its spec and status.
type parts[T txn.Object, Spec, Status any] struct {
	spec   func(T) *Spec
	status func(T) *Status
	// template, of workloads, is their pods'.
	template func(T) *corev1.PodTemplateSpec
}

// of says where a workload keeps the template of its pods.
func (p parts[T, Spec, Status]) of(template func(T) *corev1.PodTemplateSpec) parts[T, Spec, Status] {
	p.template = template
	return p
}

func partsOf[T txn.Object, Spec, Status any](spec func(T) *Spec, status func(T) *Status) parts[T, Spec, Status] {
	return parts[T, Spec, Status]{spec: spec, status: status}
}

// main prepares writes of the object itself: they never touch the status, and
// a new spec is a new generation.
func (p parts[T, Spec, Status]) main(o, old txn.Object) {
	p.withoutStatus(o, old)
	if old == nil {
		o.SetGeneration(1)
		return
	}
	raiseGeneration(o, old, p.spec(o.(T)), p.spec(old.(T)))
}

// withoutStatus is main for kinds that count no generations.
func (p parts[T, Spec, Status]) withoutStatus(o, old txn.Object) {
	if p.template != nil {
		dropUnusedOf(o, old, func(o txn.Object) *corev1.PodTemplateSpec { return p.template(o.(T)) })
	}
	if old == nil {
		var empty Status
		*p.status(o.(T)) = empty
		return
	}
	*p.status(o.(T)) = *p.status(old.(T))
}

// onlyStatus prepares writes through the status subresource: of the object only
// its status and metadata count. Two kinds keep a part of that too: a pod its
// owners, a Deployment its labels.
func (p parts[T, Spec, Status]) onlyStatus(o, old txn.Object) {
	*p.spec(o.(T)) = *p.spec(old.(T))
	switch o.(type) {
	case *corev1.Pod:
		o.SetOwnerReferences(old.GetOwnerReferences())
	case *appsv1.Deployment:
		o.SetLabels(old.GetLabels())
	}
}

// bareStatus prepares writes through the status subresource of kinds that take
// nothing of the metadata there.
func (p parts[T, Spec, Status]) bareStatus(o, old txn.Object) {
	*p.spec(o.(T)) = *p.spec(old.(T))
	keepMetadata(o, old)
}

func (p parts[T, Spec, Status]) bareStatusSubresource(check func(o, old T) fieldErrors) kind.Subresource {
	s := p.statusSubresource(check)
	s.Prepare, s.Resets = p.bareStatus, []string{"metadata"}
	return s
}

// statusSubresource is what nearly every kind with a status offers.
func (p parts[T, Spec, Status]) statusSubresource(check func(o, old T) fieldErrors) kind.Subresource {
	s := kind.Subresource{Verbs: []string{"get", "patch", "update"}, Prepare: p.onlyStatus, Validate: noErrors}
	switch any(*new(T)).(type) {
	case *corev1.Pod:
		s.Resets = []string{"metadata.ownerReferences"}
	case *appsv1.Deployment:
		s.Resets = []string{"metadata.labels"}
	}
	if check != nil {
		s.Validate = validate(check)
	}
	return s
}

// raiseGeneration counts one up when the two specs differ.
func raiseGeneration(o, old metav1.Object, spec, oldSpec any) {
	generation := old.GetGeneration()
	if !equality.Semantic.DeepEqual(spec, oldSpec) {
		generation++
	}
	o.SetGeneration(generation)
}

// keepMetadata takes the old metadata but for resourceVersion, which a writer
// may compare, and managedFields, which belong to the write.
func keepMetadata(o, old metav1.Object) {
	version, managed := o.GetResourceVersion(), o.GetManagedFields()
	*objectMeta(o) = *objectMeta(old)
	o.SetResourceVersion(version)
	o.SetManagedFields(managed)
}

func objectMeta(o metav1.Object) *metav1.ObjectMeta {
	return o.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta)
}

func noErrors(_, _ txn.Object) fieldErrors { return nil }

// countSpecs counts generations of kinds that have no status.
func countSpecs(o, old txn.Object, spec any, oldSpec func() any) {
	if old == nil {
		o.SetGeneration(1)
		return
	}
	raiseGeneration(o, old, spec, oldSpec())
}
