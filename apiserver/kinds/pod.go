package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"strconv"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func podKind() *kind.Kind {
	p := partsOf(func(o *corev1.Pod) *corev1.PodSpec { return &o.Spec }, func(o *corev1.Pod) *corev1.PodStatus { return &o.Status })
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("Pod"),
		Plural:        "pods",
		Singular:      "pod",
		ShortNames:    []string{"po"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "pods",
		New:           func() txn.Object { return &corev1.Pod{} },
		NewList:       func() runtime.Object { return &corev1.PodList{} },
		Default:       defaults(defaultPod),
		Prepare:       prepare(preparePod),
		Delete:        deletePod,
		Subresources:  podSubresources(p.onlyStatus),
		Fields:        podFields(),
		Indexes: owned(map[string]func(txn.Object) []string{
			IndexNode: values(func(o *corev1.Pod) []string { return []string{o.Spec.NodeName} }),
		}),
		Validate: validate(checkPod),
		Warnings: warnings(podWarnings),
		Columns:  podColumns(),
		Row:      row(podRow),
	}
}

func podFields() map[string]func(txn.Object) string {
	field := func(f func(o *corev1.Pod) string) func(txn.Object) string { return text(f) }
	return map[string]func(txn.Object) string{
		"spec.nodeName":           field(func(o *corev1.Pod) string { return o.Spec.NodeName }),
		"spec.restartPolicy":      field(func(o *corev1.Pod) string { return string(o.Spec.RestartPolicy) }),
		"spec.schedulerName":      field(func(o *corev1.Pod) string { return o.Spec.SchedulerName }),
		"spec.serviceAccountName": field(func(o *corev1.Pod) string { return o.Spec.ServiceAccountName }),
		"spec.hostNetwork":        field(func(o *corev1.Pod) string { return strconv.FormatBool(o.Spec.HostNetwork) }),
		"status.phase":            field(func(o *corev1.Pod) string { return string(o.Status.Phase) }),
		"status.podIP": field(func(o *corev1.Pod) string {
			if len(o.Status.PodIPs) == 0 {
				return o.Status.PodIP
			}
			return o.Status.PodIPs[0].IP
		}),
		"status.nominatedNodeName": field(func(o *corev1.Pod) string { return o.Status.NominatedNodeName }),
	}
}
