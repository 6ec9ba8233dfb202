// Package podrefs tells which objects of the API a pod refers to: what its node
// may read for it, and what pods may not have that come from a node's files.
package podrefs

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Secrets are the names of the Secrets that a pod refers to, with repetitions.
func Secrets(spec *corev1.PodSpec) []string {
	var names []string
	for _, r := range spec.ImagePullSecrets {
		names = append(names, r.Name)
	}
	containers(spec, func(env []corev1.EnvVar, from []corev1.EnvFromSource) {
		for _, e := range env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				names = append(names, e.ValueFrom.SecretKeyRef.Name)
			}
		}
		for _, f := range from {
			if f.SecretRef != nil {
				names = append(names, f.SecretRef.Name)
			}
		}
	})
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.Secret != nil {
			names = append(names, v.Secret.SecretName)
		}
		if v.CSI != nil && v.CSI.NodePublishSecretRef != nil {
			names = append(names, v.CSI.NodePublishSecretRef.Name)
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.Secret != nil {
					names = append(names, s.Secret.Name)
				}
			}
		}
	}
	return names
}

// ConfigMaps are the names of the ConfigMaps, with repetitions.
func ConfigMaps(spec *corev1.PodSpec) []string {
	var names []string
	containers(spec, func(env []corev1.EnvVar, from []corev1.EnvFromSource) {
		for _, e := range env {
			if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil {
				names = append(names, e.ValueFrom.ConfigMapKeyRef.Name)
			}
		}
		for _, f := range from {
			if f.ConfigMapRef != nil {
				names = append(names, f.ConfigMapRef.Name)
			}
		}
	})
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.ConfigMap != nil {
			names = append(names, v.ConfigMap.Name)
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					names = append(names, s.ConfigMap.Name)
				}
			}
		}
	}
	return names
}

// Claims are the names of the PersistentVolumeClaims, those among them that are
// made for the pod.
func Claims(pod *corev1.Pod) []string {
	var names []string
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, pod.Name+"-"+v.Name)
		}
	}
	return names
}

// Any names something that a pod refers to and that only the API has, as
// "secret x"; empty when there is nothing of that sort. Pods of a node's own
// files may have none of it: whoever writes such a file, or has the node's
// certificate, would reach what the API protects.
func Any(pod *corev1.Pod) string {
	spec := &pod.Spec
	if spec.ServiceAccountName != "" || spec.DeprecatedServiceAccount != "" {
		return fmt.Sprintf("service account %q", spec.ServiceAccountName)
	}
	for _, group := range []struct {
		what  string
		names []string
	}{
		{"secret", Secrets(spec)}, {"configmap", ConfigMaps(spec)}, {"persistentvolumeclaim", Claims(pod)},
	} {
		if len(group.names) > 0 {
			return fmt.Sprintf("%s %q", group.what, group.names[0])
		}
	}
	if len(spec.ResourceClaims) > 0 {
		return fmt.Sprintf("resource claim %q", spec.ResourceClaims[0].Name)
	}
	for i := range spec.Volumes {
		if what := volume(&spec.Volumes[i]); what != "" {
			return fmt.Sprintf("%s in volume %q", what, spec.Volumes[i].Name)
		}
	}
	return ""
}

// volume tells what a volume takes from the API, besides what the others name.
func volume(v *corev1.Volume) string {
	switch {
	case v.CSI != nil:
		return "a CSI driver"
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil || s.ClusterTrustBundle != nil || s.PodCertificate != nil {
				return "a service account token, trust bundle or certificate"
			}
		}
	}
	for _, secret := range []*corev1.LocalObjectReference{
		ref(v.RBD, func(s *corev1.RBDVolumeSource) *corev1.LocalObjectReference { return s.SecretRef }),
		ref(v.ISCSI, func(s *corev1.ISCSIVolumeSource) *corev1.LocalObjectReference { return s.SecretRef }),
		ref(v.CephFS, func(s *corev1.CephFSVolumeSource) *corev1.LocalObjectReference { return s.SecretRef }),
		ref(v.FlexVolume, func(s *corev1.FlexVolumeSource) *corev1.LocalObjectReference { return s.SecretRef }),
	} {
		if secret != nil {
			return "a secret"
		}
	}
	return ""
}

func ref[T any](source *T, of func(*T) *corev1.LocalObjectReference) *corev1.LocalObjectReference {
	if source == nil {
		return nil
	}
	return of(source)
}

func containers(spec *corev1.PodSpec, f func(env []corev1.EnvVar, from []corev1.EnvFromSource)) {
	for i := range spec.InitContainers {
		f(spec.InitContainers[i].Env, spec.InitContainers[i].EnvFrom)
	}
	for i := range spec.Containers {
		f(spec.Containers[i].Env, spec.Containers[i].EnvFrom)
	}
	for i := range spec.EphemeralContainers {
		f(spec.EphemeralContainers[i].Env, spec.EphemeralContainers[i].EnvFrom)
	}
}
