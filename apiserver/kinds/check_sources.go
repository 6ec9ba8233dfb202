package kinds

import (
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// source is one volume source of those of which a volume has one. What the
// fields mean of one that a storage system's own driver reads is the driver's to
// say, but some must be there.
type source struct {
	name string
	// errorsAs is the name that errors of its fields have always had.
	errorsAs string
	needs    []string // field, value, field, value …
	lun      *int32   // 0 to 255, when there is one
	check    func(c *checker, at *path)
	// beside lets it be there beside others: that was never counted.
	beside bool
}

func from(name string, needs ...string) source { return source{name: name, needs: needs} }

// listed is a value for a list that must not be empty.
func listed(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return "listed"
}

func (c *checker) sources(p *path, all []source) {
	for i, s := range all {
		at := p.Child(s.name)
		if i > 0 && !s.beside {
			if s.name == "cephfs" {
				at = p.Child("cephFS") // as it was spelled first
			}
			c.forbidden(at, "may not specify more than 1 volume type")
			continue
		}
		if s.errorsAs != "" {
			at = p.Child(s.errorsAs)
		}
		for j := 0; j < len(s.needs); j += 2 {
			if s.needs[j+1] == "" {
				c.required(at.Child(s.needs[j]), "")
			}
		}
		if s.lun != nil && (*s.lun < 0 || *s.lun > 255) {
			c.invalid(at.Child("lun"), *s.lun, "must be between 0 and 255, inclusive")
		}
		if s.check != nil {
			s.check(c, at)
		}
	}
}

// driverSources are the sources of a pod's volume that are not read by every
// node itself.
func driverSources(v *corev1.VolumeSource) []source {
	var all []source
	add := func(s source) { all = append(all, s) }
	if s := v.AWSElasticBlockStore; s != nil {
		add(source{name: "awsElasticBlockStore", needs: []string{"volumeID", s.VolumeID}, check: partition(s.Partition)})
	}
	if s := v.AzureDisk; s != nil {
		add(source{name: "azureDisk", needs: []string{"diskName", s.DiskName, "diskURI", s.DataDiskURI}, check: func(c *checker, at *path) { c.azureDisk(at, s) }})
	}
	if s := v.AzureFile; s != nil {
		add(from("azureFile", "secretName", s.SecretName, "shareName", s.ShareName))
	}
	if s := v.CephFS; s != nil {
		add(from("cephfs", "monitors", listed(s.Monitors)))
	}
	if s := v.Cinder; s != nil {
		add(source{name: "cinder", needs: []string{"volumeID", s.VolumeID}, check: secretOf(s.SecretRef)})
	}
	if s := v.FC; s != nil {
		add(fibre(s))
	}
	if s := v.FlexVolume; s != nil {
		add(from("flexVolume", "driver", s.Driver))
	}
	if s := v.Flocker; s != nil {
		add(source{name: "flocker", check: func(c *checker, at *path) { c.flocker(at, s) }})
	}
	if s := v.GCEPersistentDisk; s != nil {
		add(source{name: "gcePersistentDisk", errorsAs: "persistentDisk", needs: []string{"pdName", s.PDName}, check: partition(s.Partition)})
	}
	if s := v.GitRepo; s != nil {
		add(source{name: "gitRepo", needs: []string{"repository", s.Repository}, check: func(c *checker, at *path) { c.descending(at.Child("directory"), s.Directory) }})
	}
	if s := v.Glusterfs; s != nil {
		add(from("glusterfs", "endpoints", s.EndpointsName, "path", s.Path))
	}
	if s := v.ISCSI; s != nil {
		add(source{name: "iscsi", needs: []string{"targetPortal", s.TargetPortal, "iqn", s.IQN}, lun: &s.Lun, check: func(c *checker, at *path) {
			c.iscsi(at, s.IQN, s.InitiatorName, (s.DiscoveryCHAPAuth || s.SessionCHAPAuth) && s.SecretRef == nil)
		}})
	}
	if s := v.PhotonPersistentDisk; s != nil {
		add(from("photonPersistentDisk", "pdID", s.PdID))
	}
	if s := v.PortworxVolume; s != nil {
		add(from("portworxVolume", "volumeID", s.VolumeID))
	}
	if s := v.Quobyte; s != nil {
		add(source{name: "quobyte", needs: []string{"volume", s.Volume}, check: func(c *checker, at *path) { c.quobyte(at, s) }})
	}
	if s := v.RBD; s != nil {
		add(from("rbd", "monitors", listed(s.CephMonitors), "image", s.RBDImage))
	}
	if s := v.ScaleIO; s != nil {
		add(from("scaleIO", "gateway", s.Gateway, "system", s.System, "volumeName", s.VolumeName))
	}
	if s := v.StorageOS; s != nil {
		add(source{name: "storageos", needs: []string{"volumeName", s.VolumeName}, check: func(c *checker, at *path) {
			c.storageOS(at, s.VolumeName, s.VolumeNamespace)
			secretOf(s.SecretRef)(c, at)
		}})
	}
	if s := v.VsphereVolume; s != nil {
		add(from("vsphereVolume", "volumePath", s.VolumePath))
	}
	return all
}

// partition checks the number of a disk's partition; 0 is the whole disk.
func partition(n int32) func(c *checker, at *path) {
	return func(c *checker, at *path) {
		if n < 0 || n > 255 {
			c.invalid(at.Child("partition"), n, "must be between 1 and 255, inclusive")
		}
	}
}

func (c *checker) quobyte(p *path, s *corev1.QuobyteVolumeSource) {
	const pairs = "must be a host:port pair or multiple pairs separated by commas"
	switch {
	case s.Registry == "":
		c.required(p.Child("registry"), pairs)
	case len(s.Tenant) > 64:
		c.required(p.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters")
	default:
		for pair := range strings.SplitSeq(s.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				c.invalid(p.Child("registry"), s.Registry, pairs)
			}
		}
	}
}

func (c *checker) flocker(p *path, s *corev1.FlockerVolumeSource) {
	switch {
	case s.DatasetName == "" && s.DatasetUUID == "":
		c.required(p, "one of datasetName and datasetUUID is required")
	case s.DatasetName != "" && s.DatasetUUID != "":
		c.invalid(p, "resource", "datasetName and datasetUUID can not be specified simultaneously")
	}
	if strings.Contains(s.DatasetName, "/") {
		c.invalid(p.Child("datasetName"), s.DatasetName, "must not contain '/'")
	}
}

// fibre is found by its ports and a number, or by its own names.
func fibre(s *corev1.FCVolumeSource) source {
	return source{name: "fc", check: func(c *checker, at *path) {
		switch {
		case len(s.TargetWWNs)+len(s.WWIDs) == 0:
			c.required(at.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both")
		case len(s.TargetWWNs) > 0 && len(s.WWIDs) > 0:
			c.invalid(at.Child("targetWWNs"), s.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously")
		}
		if len(s.TargetWWNs) == 0 {
			return
		}
		if s.Lun == nil {
			c.required(at.Child("lun"), "lun is required if targetWWNs is specified")
		} else if *s.Lun < 0 || *s.Lun > 255 {
			c.invalid(at.Child("lun"), s.Lun, "must be between 0 and 255, inclusive")
		}
	}}
}

// persistentOrder is the order in which a PersistentVolume's sources are looked
// at: of two, the second is one too many.
var persistentOrder = []string{
	"hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs", "iscsi", "cinder", "fc",
	"flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk", "scaleIO", "local", "storageos", "csi",
}

// persistentSources are those of a PersistentVolume, the common ones included.
func persistentSources(v *corev1.PersistentVolumeSpec) []source {
	all := unorderedSources(&v.PersistentVolumeSource)
	place := func(s source) int { return slices.Index(persistentOrder, s.name) }
	slices.SortStableFunc(all, func(a, b source) int { return place(a) - place(b) })
	for i := range all {
		switch all[i].name {
		case "hostPath":
			all[i].check = func(c *checker, at *path) { c.hostPath(at, v.HostPath) }
		case "local":
			all[i].check = func(c *checker, at *path) { c.localVolume(at, v) }
		case "nfs":
			all[i].check, all[i].needs = func(c *checker, at *path) { c.nfs(at, v.NFS) }, nil
		}
	}
	return all
}

// localVolume is a directory of one node: there is no other to run on.
func (c *checker) localVolume(p *path, v *corev1.PersistentVolumeSpec) {
	c.noBacksteps(p.Child("path"), v.Local.Path)
	if v.NodeAffinity == nil {
		c.required(field.NewPath("spec", "nodeAffinity"), "Local volume requires node affinity")
	}
}

func unorderedSources(v *corev1.PersistentVolumeSource) []source {
	shared := driverSources(&corev1.VolumeSource{
		AWSElasticBlockStore: v.AWSElasticBlockStore, AzureDisk: v.AzureDisk, FC: v.FC, Flocker: v.Flocker, GCEPersistentDisk: v.GCEPersistentDisk,
		PhotonPersistentDisk: v.PhotonPersistentDisk, PortworxVolume: v.PortworxVolume, Quobyte: v.Quobyte, VsphereVolume: v.VsphereVolume,
	})
	add := func(s source) { shared = append(shared, s) }
	if v.HostPath != nil {
		add(from("hostPath")) // checked by itself
	}
	if s := v.Local; s != nil {
		add(from("local", "path", s.Path))
	}
	if s := v.NFS; s != nil {
		add(from("nfs", "server", s.Server, "path", s.Path))
	}
	if s := v.CSI; s != nil {
		add(from("csi", "driver", s.Driver, "volumeHandle", s.VolumeHandle))
	}
	if s := v.AzureFile; s != nil {
		add(from("azureFile", "secretName", s.SecretName, "shareName", s.ShareName))
	}
	if s := v.CephFS; s != nil {
		add(from("cephfs", "monitors", listed(s.Monitors)))
	}
	if s := v.Cinder; s != nil {
		add(from("cinder", "volumeID", s.VolumeID))
	}
	if s := v.FlexVolume; s != nil {
		add(source{name: "flexVolume", needs: []string{"driver", s.Driver}, beside: true})
	}
	if s := v.Glusterfs; s != nil {
		add(from("glusterfs", "endpoints", s.EndpointsName, "path", s.Path))
	}
	if s := v.ISCSI; s != nil {
		add(source{name: "iscsi", needs: []string{"targetPortal", s.TargetPortal, "iqn", s.IQN}, lun: &s.Lun, check: func(c *checker, at *path) {
			c.iscsi(at, s.IQN, s.InitiatorName, (s.DiscoveryCHAPAuth || s.SessionCHAPAuth) && s.SecretRef == nil)
		}})
	}
	if s := v.RBD; s != nil {
		add(from("rbd", "monitors", listed(s.CephMonitors), "image", s.RBDImage))
	}
	if s := v.ScaleIO; s != nil {
		add(from("scaleIO", "gateway", s.Gateway, "system", s.System, "volumeName", s.VolumeName))
	}
	if s := v.StorageOS; s != nil {
		add(source{name: "storageos", needs: []string{"volumeName", s.VolumeName}, check: func(c *checker, at *path) {
			c.storageOS(at, s.VolumeName, s.VolumeNamespace)
		}})
	}
	return shared
}
