package core_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/scheduler/core"
)

func claim(name, class, volume string, change ...func(c *corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}}
	c.Spec.StorageClassName, c.Spec.VolumeName = &class, volume
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	c.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	if volume != "" {
		c.Annotations = map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func volume(name, class, node string, change ...func(v *corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	v.Spec.StorageClassName = class
	v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	v.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	v.Status.Phase = corev1.VolumeAvailable
	if node != "" {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}}}
	}
	for _, f := range change {
		f(v)
	}
	return v
}

func class(name, provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

func mounts(names ...string) func(p *corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, name := range names {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
		}
	}
}

// TestVolumesDecide: three nodes, n0 to n2, in zones a, b and b.
func TestVolumesDecide(t *testing.T) {
	t.Parallel()
	late, local := class("late", "headway.sh/local-path", storagev1.VolumeBindingWaitForFirstConsumer), class("local", "kubernetes.io/no-provisioner", storagev1.VolumeBindingWaitForFirstConsumer)
	zonal := class("zonal", "disk.example.com", storagev1.VolumeBindingWaitForFirstConsumer)
	zonal.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: corev1.LabelTopologyZone, Values: []string{"a"}}}}}
	csi := func(handle string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) {
			v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "disk.example.com", VolumeHandle: handle}
		}
	}
	for _, c := range []struct {
		name    string
		set     func(s *core.State)
		mounts  []string
		node    string // or
		message string
		gets    []string // volumes of the claims; "" is to be provisioned
	}{
		{"a claim that is missing", func(*core.State) {}, []string{"data"}, "", `0/3 nodes are available: persistentvolumeclaim "data" not found.`, nil},
		{"immediate and not bound yet", func(s *core.State) {
			s.SetClass(class("now", "disk.example.com", storagev1.VolumeBindingImmediate))
			s.SetClaim(claim("data", "now", ""))
		}, []string{"data"}, "", "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.", nil},
		{"being deleted", func(s *core.State) {
			s.SetClaim(claim("data", "now", "v", func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} }))
		}, []string{"data"}, "", `0/3 nodes are available: persistentvolumeclaim "data" is being deleted.`, nil},
		{"bound to a volume of one node", func(s *core.State) {
			s.SetVolume(volume("v", "late", "n1"))
			s.SetClaim(claim("data", "late", "v"))
		}, []string{"data"}, "n1", "", nil},
		{"bound to a volume of a node that is gone", func(s *core.State) {
			s.SetVolume(volume("v", "late", "n9"))
			s.SetClaim(claim("data", "late", "v"))
		}, []string{"data"}, "", "0/3 nodes are available: 3 node(s) didn't match PersistentVolume's node affinity.", nil},
		{"bound to a volume that is gone", func(s *core.State) { s.SetClaim(claim("data", "late", "v")) }, []string{"data"}, "",
			"0/3 nodes are available: 3 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s).", nil},
		{"a zone by label", func(s *core.State) {
			s.SetVolume(volume("v", "late", "", func(v *corev1.PersistentVolume) { v.Labels = map[string]string{corev1.LabelTopologyZone: "a__c"} }))
			s.SetClaim(claim("data", "late", "v"))
		}, []string{"data"}, "n0", "", nil},
		{"the smallest local volume that suits", func(s *core.State) {
			s.SetClass(local)
			s.SetVolume(volume("small", "local", "n2"))
			s.SetVolume(volume("large", "local", "n2", func(v *corev1.PersistentVolume) { v.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("9Gi") }))
			s.SetClaim(claim("data", "local", ""))
		}, []string{"data"}, "n2", "", []string{"small"}},
		{"two claims, two volumes of one node", func(s *core.State) {
			s.SetClass(local)
			for name, node := range map[string]string{"v0": "n0", "v1": "n1", "v2": "n1"} {
				s.SetVolume(volume(name, "local", node))
			}
			s.SetClaim(claim("data", "local", ""))
			s.SetClaim(claim("log", "local", ""))
		}, []string{"data", "log"}, "n1", "", []string{"v1", "v2"}},
		{"no local volume left", func(s *core.State) {
			s.SetClass(local)
			s.SetVolume(volume("v", "local", "n2"))
			s.SetClaim(claim("data", "local", ""))
			s.Reserve("other", "n2", []core.ClaimBinding{{Claim: claim("other", "local", ""), Volume: volume("v", "local", "n2")}})
		}, []string{"data"}, "", "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.", nil},
		{"a volume that is for one claim of two", func(s *core.State) {
			s.SetClass(local)
			plain := func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = nil }
			s.SetVolume(volume("v", "local", "n1", func(v *corev1.PersistentVolume) {
				v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "shop", Name: "data"}
			}))
			s.SetClaim(claim("other", "local", "", plain))
			s.SetClaim(claim("data", "local", "", plain))
			if d := s.Decide(prepared(t, pod("other", "", mounts("other")))); d.Node != "" {
				t.Errorf("the other goes to %q", d.Node)
			}
		}, []string{"data"}, "n1", "", []string{"v"}},
		{"claims that want other attributes", func(s *core.State) {
			s.SetClass(local)
			wants := func(attributes string) func(*corev1.PersistentVolumeClaim) {
				return func(c *corev1.PersistentVolumeClaim) {
					c.Spec.VolumeMode, c.Spec.VolumeAttributesClassName = nil, &attributes
				}
			}
			s.SetVolume(volume("v", "local", "n1", func(v *corev1.PersistentVolume) { v.Spec.VolumeAttributesClassName = ptr.To("fast") }))
			s.SetClaim(claim("other", "local", "", wants("slow")))
			s.SetClaim(claim("data", "local", "", wants("fast")))
			if d := s.Decide(prepared(t, pod("other", "", mounts("other")))); d.Node != "" {
				t.Errorf("the other goes to %q", d.Node)
			}
		}, []string{"data"}, "n1", "", []string{"v"}},
		{"provisioned where the class allows", func(s *core.State) {
			s.SetClass(zonal)
			s.SetClaim(claim("data", "zonal", ""))
		}, []string{"data"}, "n0", "", []string{""}},
		{"where it is being made", func(s *core.State) {
			s.SetClass(late)
			s.SetClaim(claim("data", "late", "", func(c *corev1.PersistentVolumeClaim) {
				c.Annotations = map[string]string{"volume.kubernetes.io/selected-node": "n2"}
			}))
		}, []string{"data"}, "n2", "", []string{""}},
		{"as many as the node can attach", func(s *core.State) {
			s.SetClass(zonal)
			s.SetVolume(volume("v", "zonal", "n0", csi("h")))
			s.SetClaim(claim("used", "zonal", "v"))
			s.SetClaim(claim("data", "zonal", ""))
			s.Place(prepared(t, pod("other", "", mounts("used"))), "n0")
			s.SetCSINode(&storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "n0"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{
				{Name: "disk.example.com", Allocatable: &storagev1.VolumeNodeResources{Count: ptr.To(int32(1))}}}}})
		}, []string{"data"}, "", "0/3 nodes are available: 1 node(s) exceed max volume count, 2 node(s) didn't find available persistent volumes to bind.", nil},
		{"one pod alone", func(s *core.State) {
			s.SetVolume(volume("v", "late", ""))
			s.SetClaim(claim("data", "late", "v", func(c *corev1.PersistentVolumeClaim) {
				c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
			}))
			s.Place(prepared(t, pod("other", "", mounts("data"))), "n0")
		}, []string{"data"}, "", "0/3 nodes are available: 3 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod.", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := core.NewState(1)
			for name, zone := range map[string]string{"n0": "a", "n1": "b", "n2": "b"} {
				s.SetNode(node(name, "4", "8Gi", func(n *corev1.Node) { n.Labels[corev1.LabelTopologyZone] = zone }))
			}
			c.set(s)
			d := s.Decide(prepared(t, pod("p", "", mounts(c.mounts...))))
			if d.Node != c.node || d.Node == "" && d.Message() != c.message {
				t.Errorf("goes to %q, want %q; message\n %s, want\n %s", d.Node, c.node, d.Message(), c.message)
			}
			var gets []string
			for _, b := range d.Claims {
				if b.Volume == nil {
					gets = append(gets, "")
					continue
				}
				gets = append(gets, b.Volume.Name)
			}
			if diff := cmp.Diff(c.gets, gets); diff != "" {
				t.Errorf("volumes (-want +got):\n%s", diff)
			}
		})
	}
}
