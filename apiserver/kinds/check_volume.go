package kinds

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volumes checks a pod's volumes and gives those that are right by name.
func (c *checker) volumes(p *path, volumes []corev1.Volume) map[string]*corev1.Volume {
	byName := make(map[string]*corev1.Volume, len(volumes))
	for i := range volumes {
		v := &volumes[i]
		at, before := p.Index(i), len(c.errs)
		c.volumeSource(at, v)
		c.dnsLabel(at, "name", v.Name)
		if _, ok := byName[v.Name]; ok {
			c.add(field.Duplicate(at.Child("name"), v.Name))
		}
		if len(c.errs) == before {
			byName[v.Name] = v
		}
	}
	return byName
}

func (c *checker) volumeSource(p *path, v *corev1.Volume) {
	all := nodeSources(v)
	if len(all) == 0 {
		c.required(p, "must specify a volume type")
	}
	c.sources(p, all)
	if s := v.ISCSI; s != nil && s.InitiatorName != nil && len(v.Name)+1+len(s.TargetPortal) > 64 {
		c.invalid(p.Child("name"), v.Name,
			"Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.")
	}
}

// nodeSources are the sources of a pod's volume in the order in which they are
// looked at: of two, the second is one too many.
func nodeSources(v *corev1.Volume) []source {
	drivers := driverSources(&v.VolumeSource)
	all := make([]source, 0, 1)
	add := func(set bool, name string, check func(c *checker, at *path)) {
		if set {
			all = append(all, source{name: name, check: check})
		}
	}
	driver := func(names ...string) {
		for _, s := range drivers {
			if slices.Contains(names, s.name) {
				all = append(all, s)
			}
		}
	}
	add(v.EmptyDir != nil, "emptyDir", func(c *checker, at *path) { c.emptyDir(at, v.EmptyDir) })
	add(v.HostPath != nil, "hostPath", func(c *checker, at *path) { c.hostPath(at, v.HostPath) })
	driver("gitRepo")
	driver("gcePersistentDisk")
	driver("awsElasticBlockStore")
	add(v.Secret != nil, "secret", func(c *checker, at *path) { c.secretVolume(at, v.Secret) })
	add(v.NFS != nil, "nfs", func(c *checker, at *path) { c.nfs(at, v.NFS) })
	for _, name := range []string{"iscsi", "glusterfs", "flocker"} {
		driver(name)
	}
	add(v.PersistentVolumeClaim != nil, "persistentVolumeClaim", func(c *checker, at *path) {
		if v.PersistentVolumeClaim.ClaimName == "" {
			c.required(at.Child("claimName"), "")
		}
	})
	for _, name := range []string{"rbd", "cinder", "cephfs", "quobyte"} {
		driver(name)
	}
	add(v.DownwardAPI != nil, "downwardAPI", func(c *checker, at *path) {
		c.mode(at, "defaultMode", v.DownwardAPI.DefaultMode)
		c.downwardItems(at, v.DownwardAPI.Items)
	})
	driver("fc")
	driver("flexVolume")
	add(v.ConfigMap != nil, "configMap", func(c *checker, at *path) { c.configMapVolume(at, v.ConfigMap) })
	for _, name := range []string{"azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk", "storageos"} {
		driver(name)
	}
	add(v.Projected != nil, "projected", func(c *checker, at *path) { c.projected(at, v.Projected) })
	driver("scaleIO")
	add(v.CSI != nil, "csi", func(c *checker, at *path) { c.csiVolume(at, v.CSI) })
	add(v.Ephemeral != nil, "ephemeral", func(c *checker, at *path) { c.ephemeralVolume(at, v.Ephemeral) })
	add(v.Image != nil, "image", func(c *checker, at *path) {
		oneOf(c, at, "pullPolicy", v.Image.PullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
		if v.Image.Reference == "" {
			c.required(at.Child("reference"), "")
		}
	})
	return all
}

func (c *checker) emptyDir(p *path, s *corev1.EmptyDirVolumeSource) {
	if s.SizeLimit != nil && s.SizeLimit.Sign() < 0 {
		c.forbidden(p.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")
	}
}

func (c *checker) secretVolume(p *path, s *corev1.SecretVolumeSource) {
	if s.SecretName == "" {
		c.required(p.Child("secretName"), "")
	}
	c.mode(p, "defaultMode", s.DefaultMode)
	c.keyItems(p, s.Items)
}

func (c *checker) configMapVolume(p *path, s *corev1.ConfigMapVolumeSource) {
	if s.Name == "" {
		c.required(p.Child("name"), "")
	}
	c.mode(p, "defaultMode", s.DefaultMode)
	c.keyItems(p, s.Items)
}

func (c *checker) nfs(p *path, s *corev1.NFSVolumeSource) {
	if s.Server == "" {
		c.required(p.Child("server"), "")
	}
	if s.Path == "" {
		c.required(p.Child("path"), "")
	}
	if !filepath.IsAbs(s.Path) {
		c.invalid(p.Child("path"), s.Path, "must be an absolute path")
	}
}

func (c *checker) csiVolume(p *path, s *corev1.CSIVolumeSource) {
	c.driverName(p, "driver", s.Driver)
	if r := s.NodePublishSecretRef; r != nil {
		if r.Name == "" {
			c.required(p.Child("nodePublishSecretRef", "name"), "")
		} else {
			c.messages(p, "name", r.Name, validation.IsDNS1123Subdomain(r.Name))
		}
	}
}

func (c *checker) ephemeralVolume(p *path, s *corev1.EphemeralVolumeSource) {
	at := p.Child("volumeClaimTemplate")
	if s.VolumeClaimTemplate == nil {
		c.required(at, "")
		return
	}
	c.annotations(at.Child("metadata", "annotations"), s.VolumeClaimTemplate.Annotations)
	c.labels(at.Child("metadata", "labels"), s.VolumeClaimTemplate.Labels)
	c.onlyLabels(at.Child("metadata"), &s.VolumeClaimTemplate.ObjectMeta)
	c.claimSpec(at.Child("spec"), &s.VolumeClaimTemplate.Spec)
}

// onlyLabels refuses what of a template's metadata would be lost.
func (c *checker) onlyLabels(p *path, m *metav1.ObjectMeta) {
	c.absent(p, "cannot be set",
		presence{"name", m.Name != ""}, presence{"generateName", m.GenerateName != ""}, presence{"namespace", m.Namespace != ""},
		presence{"selfLink", m.SelfLink != ""}, presence{"uID", m.UID != ""}, presence{"resourceVersion", m.ResourceVersion != ""},
		presence{"generation", m.Generation != 0}, presence{"creationTimestamp", !m.CreationTimestamp.IsZero()},
		presence{"deletionTimestamp", m.DeletionTimestamp != nil},
		presence{"deletionGracePeriodSeconds", m.DeletionGracePeriodSeconds != nil},
		presence{"ownerReferences", len(m.OwnerReferences) > 0}, presence{"finalizers", len(m.Finalizers) > 0},
		presence{"managedFields", len(m.ManagedFields) > 0})
}

func (c *checker) hostPath(p *path, h *corev1.HostPathVolumeSource) {
	if h.Path == "" {
		c.required(p.Child("path"), "")
		return
	}
	c.noBacksteps(p.Child("path"), h.Path)
	oneOfPtr(c, p, "type", h.Type, corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
		corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)
}

func (c *checker) noBacksteps(p *path, name string) {
	if backsteps(name) {
		c.invalid(p, name, "must not contain '..'")
	}
}

// backsteps tells a path that leads out of where it begins.
func backsteps(name string) bool {
	for part := range strings.SplitSeq(filepath.ToSlash(name), "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// relative checks a path inside a volume.
func (c *checker) relative(p *path, name string) {
	if filepath.IsAbs(name) {
		c.invalid(p, name, "must be a relative path")
	}
	c.noBacksteps(p, name)
}

// local checks a file's path inside a volume, where names that begin with two
// dots are taken.
func (c *checker) local(p *path, name string) {
	c.relative(p, name)
	if strings.HasPrefix(name, "..") && !strings.HasPrefix(name, "../") {
		c.invalid(p, name, "must not start with '..'")
	}
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
		c.local(at.Child("path"), items[i].Path)
		c.mode(at, "mode", items[i].Mode)
	}
}

// downwardItems checks the files of a pod's own fields; their errors name the
// volume, as they always have.
func (c *checker) downwardItems(p *path, items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		f := &items[i]
		if f.Path == "" {
			c.required(p.Child("path"), "")
		}
		c.local(p.Child("path"), f.Path)
		switch {
		case f.FieldRef != nil:
			c.fieldRef(p.Child("fieldRef"), f.FieldRef, volumeFields)
			if f.ResourceFieldRef != nil {
				c.invalid(p, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
			}
		case f.ResourceFieldRef != nil:
			c.resourceFieldRef(p.Child("resourceFieldRef"), f.ResourceFieldRef, true)
		default:
			c.required(p, "one of fieldRef and resourceFieldRef is required")
		}
		c.mode(p, "mode", f.Mode)
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
