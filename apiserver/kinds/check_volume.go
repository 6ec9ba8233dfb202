package kinds

import (
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volumes checks a pod's volumes and gives them by name.
func (c *checker) volumes(p *path, volumes []corev1.Volume) map[string]*corev1.Volume {
	byName := make(map[string]*corev1.Volume, len(volumes))
	for i := range volumes {
		v := &volumes[i]
		at := p.Index(i)
		c.dnsLabel(at, "name", v.Name)
		if _, ok := byName[v.Name]; ok {
			c.add(field.Duplicate(at.Child("name"), v.Name))
		}
		byName[v.Name] = v
		c.volumeSource(at, v)
	}
	return byName
}

func (c *checker) volumeSource(p *path, v *corev1.Volume) {
	n := 0
	only := func(set bool, name string) bool {
		if !set {
			return false
		}
		if n++; n > 1 {
			c.forbidden(p.Child(name), "may not specify more than 1 volume type")
		}
		return n == 1
	}
	if only(v.EmptyDir != nil, "emptyDir") && v.EmptyDir.SizeLimit != nil && v.EmptyDir.SizeLimit.Sign() < 0 {
		c.forbidden(p.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity")
	}
	if only(v.HostPath != nil, "hostPath") {
		c.hostPath(p.Child("hostPath"), v.HostPath)
	}
	if s := v.Secret; only(s != nil, "secret") {
		at := p.Child("secret")
		if s.SecretName == "" {
			c.required(at.Child("secretName"), "")
		}
		c.mode(at, "defaultMode", s.DefaultMode)
		c.keyItems(at, s.Items)
	}
	if s := v.ConfigMap; only(s != nil, "configMap") {
		at := p.Child("configMap")
		if s.Name == "" {
			c.required(at.Child("name"), "")
		}
		c.mode(at, "defaultMode", s.DefaultMode)
		c.keyItems(at, s.Items)
	}
	if s := v.DownwardAPI; only(s != nil, "downwardAPI") {
		at := p.Child("downwardAPI")
		c.mode(at, "defaultMode", s.DefaultMode)
		c.downwardItems(at, s.Items)
	}
	if only(v.Projected != nil, "projected") {
		c.projected(p.Child("projected"), v.Projected)
	}
	if s := v.PersistentVolumeClaim; only(s != nil, "persistentVolumeClaim") && s.ClaimName == "" {
		c.required(p.Child("persistentVolumeClaim", "claimName"), "")
	}
	if s := v.NFS; only(s != nil, "nfs") {
		if s.Server == "" {
			c.required(p.Child("nfs", "server"), "")
		}
		if s.Path == "" {
			c.required(p.Child("nfs", "path"), "")
		} else if !filepath.IsAbs(s.Path) {
			c.invalid(p.Child("nfs", "path"), s.Path, "must be an absolute path")
		}
	}
	if s := v.CSI; only(s != nil, "csi") && s.Driver == "" {
		c.required(p.Child("csi", "driver"), "")
	}
	if s := v.Ephemeral; only(s != nil, "ephemeral") {
		if s.VolumeClaimTemplate == nil {
			c.required(p.Child("ephemeral", "volumeClaimTemplate"), "")
		} else {
			c.claimSpec(p.Child("ephemeral", "volumeClaimTemplate", "spec"), &s.VolumeClaimTemplate.Spec)
		}
	}
	if s := v.Image; only(s != nil, "image") {
		if s.Reference == "" {
			c.required(p.Child("image", "reference"), "")
		}
		oneOf(c, p.Child("image"), "pullPolicy", s.PullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
	}
	if n == 0 {
		c.sources(p, driverSources(&v.VolumeSource))
	}
	if n == 0 && v.VolumeSource == (corev1.VolumeSource{}) {
		c.required(p, "must specify a volume type")
	}
}

func (c *checker) hostPath(p *path, h *corev1.HostPathVolumeSource) {
	if h.Path == "" {
		c.required(p.Child("path"), "")
		return
	}
	c.noBacksteps(p.Child("path"), h.Path)
	oneOfPtr(c, p, "type", h.Type, corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory,
		corev1.HostPathFileOrCreate, corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)
}

func (c *checker) noBacksteps(p *path, name string) {
	for part := range strings.SplitSeq(filepath.ToSlash(name), "/") {
		if part == ".." {
			c.invalid(p, name, "must not contain '..'")
			return
		}
	}
}

// relative checks a path inside a volume.
func (c *checker) relative(p *path, name string) {
	if filepath.IsAbs(name) {
		c.invalid(p, name, "must be a relative path")
	}
	c.noBacksteps(p, name)
}

func (c *checker) mode(p *path, name string, mode *int32) {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		c.invalid(p.Child(name), *mode, "must be a number between 0 and 0777 (octal), both inclusive")
	}
}

func (c *checker) keyItems(p *path, items []corev1.KeyToPath) {
	for i := range items {
		at := p.Child("items").Index(i)
		if items[i].Key == "" {
			c.required(at.Child("key"), "")
		}
		if items[i].Path == "" {
			c.required(at.Child("path"), "")
		}
		c.relative(at.Child("path"), items[i].Path)
		c.mode(at, "mode", items[i].Mode)
	}
}

func (c *checker) downwardItems(p *path, items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		at := p.Child("items").Index(i)
		if items[i].Path == "" {
			c.required(at.Child("path"), "")
		}
		c.relative(at.Child("path"), items[i].Path)
		switch {
		case items[i].FieldRef != nil && items[i].ResourceFieldRef != nil:
			c.invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
		case items[i].FieldRef != nil:
			c.fieldRef(at.Child("fieldRef"), items[i].FieldRef, volumeFields, false)
		case items[i].ResourceFieldRef != nil:
			c.resourceFieldRef(at.Child("resourceFieldRef"), items[i].ResourceFieldRef, true)
		default:
			c.required(at.Child("fieldRef"), "one of fieldRef and resourceFieldRef is required")
		}
		c.mode(at, "mode", items[i].Mode)
	}
}

func (c *checker) projected(p *path, s *corev1.ProjectedVolumeSource) {
	c.mode(p, "defaultMode", s.DefaultMode)
	for i := range s.Sources {
		source := &s.Sources[i]
		at := p.Child("sources").Index(i)
		if source.Secret != nil {
			c.dnsSubdomain(at.Child("secret"), "name", source.Secret.Name)
			c.keyItems(at.Child("secret"), source.Secret.Items)
		}
		if source.ConfigMap != nil {
			c.dnsSubdomain(at.Child("configMap"), "name", source.ConfigMap.Name)
			c.keyItems(at.Child("configMap"), source.ConfigMap.Items)
		}
		if source.DownwardAPI != nil {
			c.downwardItems(at.Child("downwardAPI"), source.DownwardAPI.Items)
		}
		if t := source.ServiceAccountToken; t != nil {
			c.projectedToken(at.Child("serviceAccountToken"), t)
		}
		if *source == (corev1.VolumeProjection{}) {
			c.required(at, "must specify exactly one of secret, configMap, downwardAPI, serviceAccountToken, clusterTrustBundle, or podCertificate")
		}
	}
}

func (c *checker) projectedToken(p *path, t *corev1.ServiceAccountTokenProjection) {
	if s := deref(t.ExpirationSeconds, 3600); s < 10*60 {
		c.invalid(p.Child("expirationSeconds"), s, "may not specify a duration less than 10 minutes")
	} else if s > 1<<32 {
		c.invalid(p.Child("expirationSeconds"), s, "may not specify a duration larger than 2^32 seconds")
	}
	if t.Path == "" {
		c.required(p.Child("path"), "")
	}
	c.relative(p.Child("path"), t.Path)
}

func (c *checker) mounts(p *path, o *corev1.Container, volumes map[string]*corev1.Volume) {
	var paths nameSet
	for i := range o.VolumeMounts {
		m := &o.VolumeMounts[i]
		at := p.Child("volumeMounts").Index(i)
		if m.Name == "" {
			c.required(at.Child("name"), "")
		} else if volumes[m.Name] == nil {
			c.add(field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			c.required(at.Child("mountPath"), "")
		}
		if !paths.add(m.MountPath) {
			c.invalid(at.Child("mountPath"), m.MountPath, "must be unique")
		}
		c.subPaths(at, m)
		oneOfPtr(c, at, "mountPropagation", m.MountPropagation, corev1.MountPropagationBidirectional,
			corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
		if deref(m.MountPropagation, "") == corev1.MountPropagationBidirectional &&
			(o.SecurityContext == nil || !deref(o.SecurityContext.Privileged, false)) {
			c.forbidden(at.Child("mountPropagation"), "Bidirectional mount propagation is available only to privileged containers")
		}
	}
	for i := range o.VolumeDevices {
		d := &o.VolumeDevices[i]
		at := p.Child("volumeDevices").Index(i)
		if v := volumes[d.Name]; v == nil {
			c.add(field.NotFound(at.Child("name"), d.Name))
		} else if v.PersistentVolumeClaim == nil && v.Ephemeral == nil {
			c.invalid(at.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		if d.DevicePath == "" {
			c.required(at.Child("devicePath"), "")
		} else if !paths.add(d.DevicePath) {
			c.invalid(at.Child("devicePath"), d.DevicePath, "must be unique")
		}
	}
}

func (c *checker) subPaths(p *path, m *corev1.VolumeMount) {
	if m.SubPath != "" {
		c.relative(p.Child("subPath"), m.SubPath)
	}
	if m.SubPathExpr != "" {
		if m.SubPath != "" {
			c.invalid(p.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
		}
		c.relative(p.Child("subPathExpr"), m.SubPathExpr)
	}
}

func (c *checker) annotations(p *path, m map[string]string) {
	size := 0
	for k, v := range m {
		size += len(k) + len(v)
		for _, message := range validation.IsQualifiedName(strings.ToLower(k)) {
			c.invalid(p, k, message)
		}
	}
	const limit = 256 * 1024
	if size > limit {
		c.add(field.TooLong(p, strconv.Itoa(size), limit))
	}
}
