package kinds

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/api/txn"
)

// A part of the API belongs to features that clusters have off: its fields are
// dropped on the way in, so that nobody takes them for promises. Objects that
// have them already, from another cluster, keep them.

// unusedField finds one such field, or a few of one feature, in a pod's spec; it
// gives each place where it is set a way to clear it.
type unusedField func(s *corev1.PodSpec, found func(clear func()))

var unusedFields = [...]unusedField{
	func(s *corev1.PodSpec, found func(func())) {
		if s.SchedulingGroup != nil {
			found(func() { s.SchedulingGroup = nil })
		}
	},
	func(s *corev1.PodSpec, found func(func())) {
		if s.EvictionResponders != nil {
			found(func() { s.EvictionResponders = nil })
		}
	},
	func(s *corev1.PodSpec, found func(func())) {
		for i := range s.Volumes {
			if d := s.Volumes[i].EmptyDir; d != nil && d.Mode != nil {
				found(func() { d.Mode = nil })
			}
		}
	},
	bindOptions, probeProtocols, probeModes, volumeUsers,
}

// dropUnused clears what the cluster does not use in a pod's spec, unless old
// (nil on create) has it.
func dropUnused(s, old *corev1.PodSpec) {
	for _, find := range unusedFields {
		kept := false
		if old != nil {
			find(old, func(func()) { kept = true })
		}
		if !kept {
			find(s, func(clear func()) { clear() })
		}
	}
}

// dropUnusedOf is dropUnused for the pods of a workload.
func dropUnusedOf(o, old txn.Object, template func(o txn.Object) *corev1.PodTemplateSpec) {
	var was *corev1.PodSpec
	if old != nil {
		if t := template(old); t != nil {
			was = &t.Spec
		}
	}
	if t := template(o); t != nil {
		dropUnused(&t.Spec, was)
	}
}

// visitContainers calls f with all containers of a pod.
func visitContainers(s *corev1.PodSpec, f func(c *corev1.Container)) {
	for i := range s.InitContainers {
		f(&s.InitContainers[i])
	}
	for i := range s.Containers {
		f(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		f((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

func bindOptions(s *corev1.PodSpec, found func(func())) {
	visitContainers(s, func(c *corev1.Container) {
		for i := range c.VolumeMounts {
			if m := &c.VolumeMounts[i]; m.BindMountOptions != nil {
				found(func() { m.BindMountOptions = nil })
			}
		}
	})
}

func eachProbe(s *corev1.PodSpec, f func(h *corev1.ProbeHandler)) {
	visitContainers(s, func(c *corev1.Container) {
		for _, p := range [...]*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
			if p != nil {
				f(&p.ProbeHandler)
			}
		}
	})
}

// probeProtocols are HTTP/2 without TLS, for probes and for hooks.
func probeProtocols(s *corev1.PodSpec, found func(func())) {
	one := func(get *corev1.HTTPGetAction) {
		if get != nil && get.Protocol != nil {
			found(func() { get.Protocol = nil })
		}
	}
	eachProbe(s, func(h *corev1.ProbeHandler) { one(h.HTTPGet) })
	visitContainers(s, func(c *corev1.Container) {
		if c.Lifecycle == nil {
			return
		}
		for _, h := range [...]*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				one(h.HTTPGet)
			}
		}
	})
}

// probeModes are gRPC probes with TLS.
func probeModes(s *corev1.PodSpec, found func(func())) {
	eachProbe(s, func(h *corev1.ProbeHandler) {
		if h.GRPC != nil && h.GRPC.Mode != nil {
			found(func() { h.GRPC.Mode = nil })
		}
	})
}

// volumeUsers are the owners of files that are made from objects.
func volumeUsers(s *corev1.PodSpec, found func(func())) {
	one := func(user **int64) {
		if *user != nil {
			found(func() { *user = nil })
		}
	}
	keys := func(items []corev1.KeyToPath) {
		for i := range items {
			one(&items[i].User)
		}
	}
	files := func(items []corev1.DownwardAPIVolumeFile) {
		for i := range items {
			one(&items[i].User)
		}
	}
	for i := range s.Volumes {
		switch v := &s.Volumes[i]; {
		case v.Secret != nil:
			one(&v.Secret.DefaultUser)
			keys(v.Secret.Items)
		case v.ConfigMap != nil:
			one(&v.ConfigMap.DefaultUser)
			keys(v.ConfigMap.Items)
		case v.DownwardAPI != nil:
			one(&v.DownwardAPI.DefaultUser)
			files(v.DownwardAPI.Items)
		case v.Projected != nil:
			one(&v.Projected.DefaultUser)
			for j := range v.Projected.Sources {
				projectedUsers(&v.Projected.Sources[j], one, keys, files)
			}
		}
	}
}

func projectedUsers(v *corev1.VolumeProjection, one func(**int64), keys func([]corev1.KeyToPath), files func([]corev1.DownwardAPIVolumeFile)) {
	switch {
	case v.Secret != nil:
		keys(v.Secret.Items)
	case v.ConfigMap != nil:
		keys(v.ConfigMap.Items)
	case v.DownwardAPI != nil:
		files(v.DownwardAPI.Items)
	case v.ServiceAccountToken != nil:
		one(&v.ServiceAccountToken.User)
	case v.ClusterTrustBundle != nil:
		one(&v.ClusterTrustBundle.User)
	case v.PodCertificate != nil:
		one(&v.PodCertificate.User)
	}
}

// dropUnusedStatus is dropUnused for a pod's status.
func dropUnusedStatus(s, old *corev1.PodStatus) {
	if len(old.NodeAllocatableResourceClaimStatuses) == 0 {
		s.NodeAllocatableResourceClaimStatuses = nil
	}
	if len(old.VolumeHealth) == 0 {
		s.VolumeHealth = nil
	}
	kept := false
	eachMount(old, func(m *corev1.VolumeMountStatus) { kept = kept || m.VolumeStatus != nil })
	if !kept {
		eachMount(s, func(m *corev1.VolumeMountStatus) { m.VolumeStatus = nil })
	}
}

// eachMount calls f with what is told about every mounted volume.
func eachMount(s *corev1.PodStatus, f func(m *corev1.VolumeMountStatus)) {
	for _, containers := range [...][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range containers {
			for j := range containers[i].VolumeMounts {
				f(&containers[i].VolumeMounts[j])
			}
		}
	}
}
