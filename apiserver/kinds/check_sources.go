package kinds

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// source is a volume source that a storage system's own driver reads: what its
// fields mean is the driver's to say, but some must be there.
type source struct {
	name  string
	needs []string // field, value, field, value …
	lun   *int32   // 0 to 255, when there is one
}

func from(name string, needs ...string) source { return source{name: name, needs: needs} }

// listed is a value for a list that must not be empty.
func listed(list []string) string { return strings.Join(list, ",") }

func (c *checker) sources(p *path, all []source) {
	for i, s := range all {
		at := p.Child(s.name)
		if i > 0 {
			c.forbidden(at, "may not specify more than 1 volume type")
			continue
		}
		for j := 0; j < len(s.needs); j += 2 {
			if s.needs[j+1] == "" {
				c.required(at.Child(s.needs[j]), "")
			}
		}
		if s.lun != nil && (*s.lun < 0 || *s.lun > 255) {
			c.invalid(at.Child("lun"), *s.lun, "must be between 0 and 255, inclusive")
		}
	}
}

// driverSources are the sources of a pod's volume that are not read by every
// node itself.
func driverSources(v *corev1.VolumeSource) []source {
	var all []source
	add := func(s source) { all = append(all, s) }
	if s := v.AWSElasticBlockStore; s != nil {
		add(from("awsElasticBlockStore", "volumeID", s.VolumeID))
	}
	if s := v.AzureDisk; s != nil {
		add(from("azureDisk", "diskName", s.DiskName, "diskURI", s.DataDiskURI))
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
	if s := v.FC; s != nil {
		add(fibre(s))
	}
	if s := v.FlexVolume; s != nil {
		add(from("flexVolume", "driver", s.Driver))
	}
	if s := v.Flocker; s != nil {
		add(from("flocker", "datasetName", s.DatasetName+s.DatasetUUID))
	}
	if s := v.GCEPersistentDisk; s != nil {
		add(from("gcePersistentDisk", "pdName", s.PDName))
	}
	if s := v.GitRepo; s != nil {
		add(from("gitRepo", "repository", s.Repository))
	}
	if s := v.Glusterfs; s != nil {
		add(from("glusterfs", "endpoints", s.EndpointsName, "path", s.Path))
	}
	if s := v.ISCSI; s != nil {
		add(source{"iscsi", []string{"targetPortal", s.TargetPortal, "iqn", s.IQN}, &s.Lun})
	}
	if s := v.PhotonPersistentDisk; s != nil {
		add(from("photonPersistentDisk", "pdID", s.PdID))
	}
	if s := v.PortworxVolume; s != nil {
		add(from("portworxVolume", "volumeID", s.VolumeID))
	}
	if s := v.Quobyte; s != nil {
		add(from("quobyte", "registry", s.Registry, "volume", s.Volume))
	}
	if s := v.RBD; s != nil {
		add(from("rbd", "monitors", listed(s.CephMonitors), "image", s.RBDImage))
	}
	if s := v.ScaleIO; s != nil {
		add(from("scaleIO", "gateway", s.Gateway, "system", s.System, "volumeName", s.VolumeName))
	}
	if s := v.StorageOS; s != nil {
		add(from("storageos", "volumeName", s.VolumeName))
	}
	if s := v.VsphereVolume; s != nil {
		add(from("vsphereVolume", "volumePath", s.VolumePath))
	}
	return all
}

// fibre is found by its ports and a number, or by its own names.
func fibre(s *corev1.FCVolumeSource) source {
	if len(s.WWIDs) > 0 {
		return source{name: "fc", lun: s.Lun}
	}
	lun := ""
	if s.Lun != nil {
		lun = fmt.Sprint(*s.Lun)
	}
	return source{"fc", []string{"targetWWNs", listed(s.TargetWWNs), "lun", lun}, s.Lun}
}

// persistentSources are those of a PersistentVolume, the common ones included.
func persistentSources(v *corev1.PersistentVolumeSource) []source {
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
		add(from("flexVolume", "driver", s.Driver))
	}
	if s := v.Glusterfs; s != nil {
		add(from("glusterfs", "endpoints", s.EndpointsName, "path", s.Path))
	}
	if s := v.ISCSI; s != nil {
		add(source{"iscsi", []string{"targetPortal", s.TargetPortal, "iqn", s.IQN}, &s.Lun})
	}
	if s := v.RBD; s != nil {
		add(from("rbd", "monitors", listed(s.CephMonitors), "image", s.RBDImage))
	}
	if s := v.ScaleIO; s != nil {
		add(from("scaleIO", "gateway", s.Gateway, "system", s.System, "volumeName", s.VolumeName))
	}
	if s := v.StorageOS; s != nil {
		add(from("storageos", "volumeName", s.VolumeName))
	}
	return shared
}
