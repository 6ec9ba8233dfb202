package statefulset

import (
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// revisionLabel has the name of the revision that a pod was made from.
const revisionLabel = appsv1.StatefulSetRevisionLabel

// Ordinal is the number at the end of the name of a set's pod; -1 when the pod
// is none of the set's.
func Ordinal(set *appsv1.StatefulSet, pod string) int {
	text, ok := strings.CutPrefix(pod, set.Name+"-")
	if !ok {
		return -1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || strconv.Itoa(n) != text {
		return -1
	}
	return n
}

func podName(set *appsv1.StatefulSet, ordinal int) string {
	return set.Name + "-" + strconv.Itoa(ordinal)
}

// start is the first ordinal.
func start(set *appsv1.StatefulSet) int {
	if set.Spec.Ordinals == nil {
		return 0
	}
	return int(set.Spec.Ordinals.Start)
}

func replicas(set *appsv1.StatefulSet) int { return int(ptr.Deref(set.Spec.Replicas, 1)) }

// inRange tells whether there should be a pod of the ordinal.
func inRange(set *appsv1.StatefulSet, ordinal int) bool {
	return ordinal >= start(set) && ordinal < start(set)+replicas(set)
}

// newPod makes the pod of an ordinal from a revision's template.
func newPod(set *appsv1.StatefulSet, template *corev1.PodTemplateSpec, revision string, ordinal int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	p.Namespace, p.Name, p.GenerateName = set.Namespace, podName(set, ordinal), ""
	p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, kind)}
	p.Spec.Hostname, p.Spec.Subdomain = p.Name, set.Spec.ServiceName
	p.Labels = identity(set, p.Labels, ordinal)
	p.Labels[revisionLabel] = revision
	var volumes []corev1.Volume
	for i := range set.Spec.VolumeClaimTemplates {
		t := &set.Spec.VolumeClaimTemplates[i]
		volumes = append(volumes, corev1.Volume{Name: t.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, t, ordinal)},
		}})
	}
	for _, v := range p.Spec.Volumes {
		if !hasTemplate(set, v.Name) {
			volumes = append(volumes, v)
		}
	}
	p.Spec.Volumes = volumes
	return p
}

// identity is labels with those that say which of the set's pods it is.
func identity(set *appsv1.StatefulSet, labels map[string]string, ordinal int) map[string]string {
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[appsv1.StatefulSetPodNameLabel] = podName(set, ordinal)
	labels[appsv1.PodIndexLabel] = strconv.Itoa(ordinal)
	return labels
}

func hasIdentity(set *appsv1.StatefulSet, p *corev1.Pod) bool {
	return maps.Equal(p.Labels, identity(set, p.Labels, Ordinal(set, p.Name)))
}

func claimName(set *appsv1.StatefulSet, template *corev1.PersistentVolumeClaim, ordinal int) string {
	return template.Name + "-" + podName(set, ordinal)
}

func hasTemplate(set *appsv1.StatefulSet, volume string) bool {
	for i := range set.Spec.VolumeClaimTemplates {
		if set.Spec.VolumeClaimTemplates[i].Name == volume {
			return true
		}
	}
	return false
}

// newClaim makes a claim of an ordinal.
func newClaim(set *appsv1.StatefulSet, template *corev1.PersistentVolumeClaim, ordinal int) *corev1.PersistentVolumeClaim {
	c := template.DeepCopy()
	c.Namespace, c.Name = set.Namespace, claimName(set, template, ordinal)
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	maps.Copy(c.Labels, set.Spec.Selector.MatchLabels)
	c.Status = corev1.PersistentVolumeClaimStatus{}
	return c
}
