package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// claimRef is a claim that a pod mounts.
type claimRef struct {
	key, name string
	// ephemeral claims are made for their pod.
	ephemeral bool
}

func claimsOf(o *corev1.Pod) (refs []claimRef) {
	for i := range o.Spec.Volumes {
		v := &o.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil:
			refs = append(refs, claimRef{o.Namespace + "/" + v.PersistentVolumeClaim.ClaimName, v.PersistentVolumeClaim.ClaimName, false})
		case v.Ephemeral != nil:
			name := ephemeral.VolumeClaimName(o, v)
			refs = append(refs, claimRef{o.Namespace + "/" + name, name, true})
		}
	}
	return refs
}

// volumes is what a pod's claims are now.
type volumes struct {
	// key is equal for pods whose volumes make the same of every node.
	key string
	// reason is why no node will do; empty if it depends on the node.
	reason string
	bound  []*corev1.PersistentVolume
	// lost says that a bound volume does not exist.
	lost bool
	// waiting are bound only once a node is chosen, the smallest first.
	waiting []*corev1.PersistentVolumeClaim
	// taken says that a claim is for one pod alone and has it.
	taken bool
}

// volumesOf looks up the pod's claims; nil when it has none.
func (s *State) volumesOf(p *Pod) *volumes {
	if len(p.claims) == 0 {
		return nil
	}
	v := &volumes{}
	var key strings.Builder
	for _, ref := range p.claims {
		c := s.storage.claims[ref.key]
		if v.reason = s.unusable(p, ref, c); v.reason != "" {
			return v
		}
		if slices.Contains(c.Spec.AccessModes, corev1.ReadWriteOncePod) {
			users := len(s.storage.users[ref.key])
			v.taken = v.taken || users > 1 || users == 1 && !s.storage.users[ref.key][p.UID]
		}
		if c.Spec.VolumeName != "" {
			pv := s.storage.volumes[c.Spec.VolumeName]
			if v.lost = v.lost || pv == nil; pv != nil {
				v.bound = append(v.bound, pv)
				fmt.Fprintf(&key, "%s@%s ", pv.Name, pv.ResourceVersion)
			}
			continue
		}
		v.waiting = append(v.waiting, c)
		class := volumehelpers.GetPersistentVolumeClaimClass(c)
		size := c.Spec.Resources.Requests[corev1.ResourceStorage]
		fmt.Fprintf(&key, "%s#%d %s %v %s %v %q on %q ", class, s.storage.epochs[class], size.String(), c.Spec.AccessModes,
			ptr.Deref(c.Spec.VolumeMode, corev1.PersistentVolumeFilesystem), c.Spec.Selector, ptr.Deref(c.Spec.VolumeAttributesClassName, ""), s.selectedNode(c))
		if s.storage.prebound[ref.key] > 0 { // there is a volume that only this one may have
			fmt.Fprintf(&key, "as %s %s ", ref.key, c.UID)
		}
	}
	slices.SortStableFunc(v.waiting, func(a, b *corev1.PersistentVolumeClaim) int {
		x, y := a.Spec.Resources.Requests[corev1.ResourceStorage], b.Spec.Resources.Requests[corev1.ResourceStorage]
		return cmp.Or(x.Cmp(y), strings.Compare(a.Name, b.Name))
	})
	v.key = fmt.Sprint(key.String(), v.lost, v.taken)
	return v
}

// unusable says why a claim cannot be used on any node.
func (s *State) unusable(p *Pod, ref claimRef, c *corev1.PersistentVolumeClaim) string {
	switch {
	case c == nil && ref.ephemeral:
		return fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", ref.name)
	case c == nil:
		return fmt.Sprintf("persistentvolumeclaim %q not found", ref.name)
	case c.Status.Phase == corev1.ClaimLost:
		return fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", ref.name, c.Spec.VolumeName)
	case c.DeletionTimestamp != nil:
		return fmt.Sprintf("persistentvolumeclaim %q is being deleted", ref.name)
	}
	if ref.ephemeral {
		if err := ephemeral.VolumeIsForPod(p.Object, c); err != nil {
			return err.Error()
		}
	}
	if bound(c) {
		return ""
	}
	class := s.storage.classes[volumehelpers.GetPersistentVolumeClaimClass(c)]
	if c.Spec.VolumeName != "" || class == nil || ptr.Deref(class.VolumeBindingMode, "") != storagev1.VolumeBindingWaitForFirstConsumer {
		return "pod has unbound immediate PersistentVolumeClaims"
	}
	return ""
}

// bound tells whether a claim and its volume have been bound to each other.
func bound(c *corev1.PersistentVolumeClaim) bool {
	return c.Spec.VolumeName != "" && metav1.HasAnnotation(c.ObjectMeta, volumehelpers.AnnBindCompleted)
}

// ClaimBound tells whether a claim has its volume.
func ClaimBound(c *corev1.PersistentVolumeClaim) bool { return c != nil && bound(c) }

// selectedNode is where a claim's volume is being made.
func (s *State) selectedNode(c *corev1.PersistentVolumeClaim) string {
	if at, ok := s.storage.selected[claimKey(c)]; ok {
		return at.node
	}
	return c.Annotations[volumehelpers.AnnSelectedNode]
}

// volumeFilter is a plug-in that decides by a pod's volumes and one node.
type volumeFilter struct {
	name  string
	check func(s *State, p *Pod, v *volumes, n *Node, reasons []string) []string
	helps Change
}

// volumeFilters are asked after those of the node itself.
var volumeFilters = []volumeFilter{
	{"VolumeRestrictions", (*State).oncePod, PodGone | StorageChanged},
	{"NodeVolumeLimits", (*State).limits, PodGone | StorageChanged},
	{"VolumeBinding", (*State).bindable, NodeLabelled | StorageChanged},
	{"VolumeZone", (*State).zones, NodeLabelled | StorageChanged},
}

func (s *State) oncePod(_ *Pod, v *volumes, _ *Node, reasons []string) []string {
	if v.taken {
		return append(reasons, "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod")
	}
	return reasons
}

// limits keeps what a node must attach below what its drivers can.
func (s *State) limits(p *Pod, _ *volumes, n *Node, reasons []string) []string {
	csi := s.storage.nodes[n.Name]
	if csi == nil {
		return reasons
	}
	for i := range csi.Spec.Drivers {
		d := &csi.Spec.Drivers[i]
		if d.Allocatable == nil || d.Allocatable.Count == nil {
			continue
		}
		wanted, all := map[string]bool{}, map[string]bool{}
		s.handles(p, d.Name, wanted)
		for _, other := range n.Pods {
			s.handles(other, d.Name, all)
		}
		before := len(all)
		for handle := range wanted {
			all[handle] = true
		}
		if len(all) > before && len(all) > int(*d.Allocatable.Count) {
			return append(reasons, "node(s) exceed max volume count")
		}
	}
	return reasons
}

// handles collects the volumes of a driver that a pod has or will have.
func (s *State) handles(p *Pod, driver string, into map[string]bool) {
	for _, ref := range p.claims {
		c := s.storage.claims[ref.key]
		if c == nil {
			continue
		}
		if pv := s.storage.volumes[c.Spec.VolumeName]; pv != nil {
			if pv.Spec.CSI != nil && pv.Spec.CSI.Driver == driver {
				into[pv.Spec.CSI.VolumeHandle] = true
			}
		} else if class := s.storage.classes[volumehelpers.GetPersistentVolumeClaimClass(c)]; class != nil && class.Provisioner == driver {
			into[ref.key] = true
		}
	}
}

const noVolumes = "node(s) didn't find available persistent volumes to bind"

func (s *State) bindable(_ *Pod, v *volumes, n *Node, reasons []string) []string {
	if v.lost {
		return append(reasons, "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
	}
	for _, pv := range v.bound {
		if volumehelpers.CheckNodeAffinity(pv, n.Object.Labels) != nil {
			reasons = append(reasons, "node(s) didn't match PersistentVolume's node affinity")
			break
		}
	}
	if _, ok := s.bindings(v, n); !ok {
		reasons = append(reasons, noVolumes)
	}
	return reasons
}

// bindings gives each waiting claim a volume that is there, or one that can be
// provisioned there.
func (s *State) bindings(v *volumes, n *Node) ([]ClaimBinding, bool) {
	var out []ClaimBinding
	chosen := map[string]*corev1.PersistentVolume{}
	for _, c := range v.waiting {
		class := volumehelpers.GetPersistentVolumeClaimClass(c)
		if at := s.selectedNode(c); at != "" {
			if at != n.Name {
				return nil, false
			}
			out = append(out, ClaimBinding{Claim: c})
			continue
		}
		var candidates []*corev1.PersistentVolume
		for _, pv := range s.storage.byClass[class] {
			if _, taken := s.storage.reserved[pv.Name]; !taken {
				candidates = append(candidates, pv)
			}
		}
		slices.SortFunc(candidates, func(a, b *corev1.PersistentVolume) int { return strings.Compare(a.Name, b.Name) })
		pv, err := volumehelpers.FindMatchingVolume(c, candidates, n.Object, chosen, false, true)
		if err != nil {
			return nil, false
		}
		if pv != nil {
			chosen[pv.Name] = pv
			out = append(out, ClaimBinding{Claim: c, Volume: pv})
			continue
		}
		if !provisionable(s.storage.classes[class], n) {
			return nil, false
		}
		out = append(out, ClaimBinding{Claim: c})
	}
	return out, true
}

func provisionable(class *storagev1.StorageClass, n *Node) bool {
	if class == nil || class.Provisioner == "" || class.Provisioner == "kubernetes.io/no-provisioner" {
		return false
	}
	if len(class.AllowedTopologies) == 0 {
		return true
	}
	return slices.ContainsFunc(class.AllowedTopologies, func(t corev1.TopologySelectorTerm) bool {
		return !slices.ContainsFunc(t.MatchLabelExpressions, func(e corev1.TopologySelectorLabelRequirement) bool {
			return !slices.Contains(e.Values, n.Object.Labels[e.Key])
		})
	})
}

// zoneLabels are the labels by which volumes of old say where they are; a
// volume in several zones names them all.
var zoneLabels = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion}

func (s *State) zones(_ *Pod, v *volumes, n *Node, reasons []string) []string {
	known := slices.ContainsFunc(zoneLabels, func(key string) bool { return n.Object.Labels[key] != "" })
	for _, pv := range v.bound {
		for _, key := range zoneLabels {
			if want := pv.Labels[key]; known && want != "" && !slices.Contains(strings.Split(want, "__"), n.Object.Labels[key]) {
				return append(reasons, "node(s) had no available volume zone")
			}
		}
	}
	return reasons
}
