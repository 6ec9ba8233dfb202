package kinds

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// mounts checks where a container sees the pod's volumes. Some errors name the
// list instead of its member, as they always have.
func (c *checker) mounts(p *path, o *corev1.Container, volumes map[string]*corev1.Volume) {
	var paths nameSet
	list := p.Child("volumeMounts")
	for i := range o.VolumeMounts {
		m := &o.VolumeMounts[i]
		at := list.Index(i)
		c.mountName(at, m.Name, volumes)
		if m.MountPath == "" {
			c.required(at.Child("mountPath"), "")
		}
		if !paths.add(m.MountPath) {
			c.invalid(at.Child("mountPath"), m.MountPath, "must be unique")
		}
		if slices.ContainsFunc(o.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == m.Name }) {
			c.invalid(at.Child("name"), m.Name, "must not already exist in volumeDevices")
		}
		if slices.ContainsFunc(o.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.DevicePath == m.MountPath }) {
			c.invalid(at.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices")
		}
		if m.SubPath != "" {
			c.relative(list.Child("subPath"), m.SubPath)
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				c.invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
			}
			c.relative(list.Child("subPathExpr"), m.SubPathExpr)
		}
		c.propagation(list, o, m)
	}
	c.volumeDevices(p.Child("volumeDevices"), o, volumes)
}

func (c *checker) mountName(p *path, name string, volumes map[string]*corev1.Volume) {
	if name == "" {
		c.required(p.Child("name"), "")
	}
	if volumes[name] == nil {
		c.add(field.NotFound(p.Child("name"), name))
	}
}

// propagation checks how mounts pass between a container and the host.
func (c *checker) propagation(p *path, o *corev1.Container, m *corev1.VolumeMount) {
	if m.MountPropagation != nil {
		oneOfPtr(c, p, "mountPropagation", m.MountPropagation, corev1.MountPropagationBidirectional,
			corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
		if *m.MountPropagation == corev1.MountPropagationBidirectional &&
			(o.SecurityContext == nil || !deref(o.SecurityContext.Privileged, false)) {
			c.forbidden(p.Child("mountPropagation"), "Bidirectional mount propagation is available only to privileged containers")
		}
	}
	if m.RecursiveReadOnly == nil {
		return
	}
	at := p.Child("recursiveReadOnly")
	switch *m.RecursiveReadOnly {
	case corev1.RecursiveReadOnlyDisabled:
	case corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled:
		if !m.ReadOnly {
			c.forbidden(at, "may only be specified when readOnly is true")
		}
		if p := deref(m.MountPropagation, corev1.MountPropagationNone); p != corev1.MountPropagationNone {
			c.forbidden(at, "may only be specified when mountPropagation is None or not specified")
		}
	default:
		oneOfPtr(c, p, "recursiveReadOnly", m.RecursiveReadOnly, corev1.RecursiveReadOnlyDisabled,
			corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)
	}
}

// volumeDevices checks the volumes that a container sees as block devices.
func (c *checker) volumeDevices(p *path, o *corev1.Container, volumes map[string]*corev1.Volume) {
	var names, paths nameSet
	for i := range o.VolumeDevices {
		d := &o.VolumeDevices[i]
		at := p.Index(i)
		c.mountName(at, d.Name, volumes)
		if d.Name != "" && !names.add(d.Name) {
			c.invalid(at.Child("name"), d.Name, "must be unique")
		}
		if v := volumes[d.Name]; v != nil && v.PersistentVolumeClaim == nil && v.Ephemeral == nil {
			c.invalid(at.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		if d.DevicePath == "" {
			c.required(at.Child("devicePath"), "")
		}
		switch {
		case backsteps(d.DevicePath):
			c.invalid(at.Child("devicePath"), d.DevicePath, "can not contain backsteps ('..')")
		case !paths.add(d.DevicePath):
			c.invalid(at.Child("devicePath"), d.DevicePath, "must be unique")
		}
		if slices.ContainsFunc(o.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == d.Name }) {
			c.invalid(at.Child("name"), d.Name, "must not already exist in volumeMounts")
		}
		if slices.ContainsFunc(o.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == d.DevicePath }) {
			c.invalid(at.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts")
		}
	}
}
