package quota

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

func podScope(o runtime.Object, s corev1.ScopedResourceSelectorRequirement) bool {
	pod := o.(*corev1.Pod)
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return ends(pod)
	case corev1.ResourceQuotaScopeNotTerminating:
		return !ends(pod)
	case corev1.ResourceQuotaScopeBestEffort:
		return pod.Status.QOSClass == corev1.PodQOSBestEffort
	case corev1.ResourceQuotaScopeNotBestEffort:
		return pod.Status.QOSClass != corev1.PodQOSBestEffort
	case corev1.ResourceQuotaScopePriorityClass:
		return selects(s, pod.Spec.PriorityClassName)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return looksAround(pod)
	}
	return false
}

// ends tells whether a pod may run for a limited time only.
func ends(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

// looksAround tells whether a pod's affinity is about pods of other namespaces.
func looksAround(pod *corev1.Pod) bool {
	a := ptr.Deref(pod.Spec.Affinity, corev1.Affinity{})
	near, far := ptr.Deref(a.PodAffinity, corev1.PodAffinity{}), ptr.Deref(a.PodAntiAffinity, corev1.PodAntiAffinity{})
	around := func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil }
	weighted := func(t corev1.WeightedPodAffinityTerm) bool { return around(t.PodAffinityTerm) }
	return slices.ContainsFunc(near.RequiredDuringSchedulingIgnoredDuringExecution, around) ||
		slices.ContainsFunc(near.PreferredDuringSchedulingIgnoredDuringExecution, weighted) ||
		slices.ContainsFunc(far.RequiredDuringSchedulingIgnoredDuringExecution, around) ||
		slices.ContainsFunc(far.PreferredDuringSchedulingIgnoredDuringExecution, weighted)
}

// claimScope knows the volume attributes classes that a claim wants, has or is
// being moved to: it counts in each of them.
func claimScope(o runtime.Object, s corev1.ScopedResourceSelectorRequirement) bool {
	if s.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
		return false
	}
	claim := o.(*corev1.PersistentVolumeClaim)
	classes := []string{ptr.Deref(claim.Spec.VolumeAttributesClassName, ""), ptr.Deref(claim.Status.CurrentVolumeAttributesClassName, "")}
	if m := claim.Status.ModifyVolumeStatus; m != nil {
		classes = append(classes, m.TargetVolumeAttributesClassName)
	}
	classes = slices.DeleteFunc(classes, func(c string) bool { return c == "" })
	if len(classes) == 0 {
		classes = []string{""}
	}
	return slices.ContainsFunc(classes, func(class string) bool { return selects(s, class) })
}

// selects tells whether a class, empty for none, is one that a scope selects.
func selects(s corev1.ScopedResourceSelectorRequirement, class string) bool {
	switch s.Operator {
	case corev1.ScopeSelectorOpExists:
		return class != ""
	case corev1.ScopeSelectorOpDoesNotExist:
		return class == ""
	case corev1.ScopeSelectorOpIn:
		return class != "" && slices.Contains(s.Values, class)
	case corev1.ScopeSelectorOpNotIn:
		return class == "" || !slices.Contains(s.Values, class)
	}
	return false
}
