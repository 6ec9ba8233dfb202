// Package localvolume has the names by which the provisioner of local volumes,
// the nodes that hold their directories and the API server know such a volume.
package localvolume

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	// Provisioner is what a StorageClass calls the built-in provisioner.
	Provisioner = "headway.sh/local-path"
	// Driver is the name of its volumes' driver, which every node has.
	Driver = "local-path.headway.sh"
	// Finalizer is on volumes until their node has removed the directory.
	Finalizer = "headway.sh/local-path"
)

// Is tells whether a volume is a directory of one node. Its handle is a plain
// file name; a volume with any other is not.
func Is(v *corev1.PersistentVolume) bool {
	csi := v.Spec.CSI
	return csi != nil && csi.Driver == Driver && csi.VolumeHandle != "" && !strings.HasPrefix(csi.VolumeHandle, ".") &&
		!strings.ContainsAny(csi.VolumeHandle, "/\\\x00")
}

// Host is the host name (label kubernetes.io/hostname) of a volume's node;
// empty: its affinity names no single one.
func Host(v *corev1.PersistentVolume) string {
	if v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil {
		return ""
	}
	terms := v.Spec.NodeAffinity.Required.NodeSelectorTerms
	if len(terms) != 1 || len(terms[0].MatchExpressions) != 1 || len(terms[0].MatchFields) != 0 {
		return ""
	}
	e := terms[0].MatchExpressions[0]
	if e.Key != corev1.LabelHostname || e.Operator != corev1.NodeSelectorOpIn || len(e.Values) != 1 {
		return ""
	}
	return e.Values[0]
}
