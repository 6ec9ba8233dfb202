package kinds

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The functions of this file check volumes of single storage systems.

func (c *checker) azureDisk(p *path, s *corev1.AzureDiskVolumeSource) {
	oneOfPtr(c, p, "cachingMode", s.CachingMode, corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)
	oneOfPtr(c, p, "kind", s.Kind, corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)
	if s.Kind == nil {
		return
	}
	begin, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if *s.Kind == corev1.AzureManagedDisk {
		begin, form = "/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	}
	if !strings.HasPrefix(s.DataDiskURI, begin) {
		c.add(field.NotSupported(p.Child("diskURI"), s.DataDiskURI, []string{form}))
	}
}

// iscsiNames are the three ways to name a side of an iSCSI connection (RFC 3720).
var iscsiNames = map[string]*regexp.Regexp{
	"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:].-]+)(:[^,;*&$|\s]+)$`),
	"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
	"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
}

// iscsi checks both names of a connection, and that a password is there where
// one is asked for.
func (c *checker) iscsi(p *path, target string, initiator *string, secretless bool) {
	if target != "" {
		c.iscsiName(p.Child("iqn"), target)
	}
	if initiator != nil {
		c.iscsiName(p.Child("initiatorname"), *initiator)
	}
	if secretless {
		c.required(p.Child("secretRef"), "")
	}
}

func (c *checker) iscsiName(p *path, name string) {
	form, ok := iscsiNames[name[:min(3, len(name))]]
	switch {
	case !ok:
		c.invalid(p, name, "must be valid format starting with iqn, eui, or naa")
	case !form.MatchString(name):
		c.invalid(p, name, "must be valid format")
	}
}

func (c *checker) storageOS(p *path, name, namespace string) {
	if name != "" {
		c.messages(p, "volumeName", name, validation.IsDNS1123Label(name))
	}
	if namespace != "" {
		c.messages(p, "volumeNamespace", namespace, validation.IsDNS1123Label(namespace))
	}
}

// secretOf checks that a reference to a Secret, where there is one, has a name.
func secretOf(ref *corev1.LocalObjectReference) func(c *checker, at *path) {
	return func(c *checker, at *path) {
		if ref != nil && ref.Name == "" {
			c.required(at.Child("secretRef", "name"), "")
		}
	}
}

// descending checks a path that stays below the directory that it is in.
func (c *checker) descending(p *path, name string) {
	if strings.HasPrefix(name, "/") {
		c.invalid(p, name, "must be a relative path")
	}
	c.noBacksteps(p, name)
}
