package core

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

// storage is the claims, volumes and classes that decisions ask for.
type storage struct {
	claims  map[string]*corev1.PersistentVolumeClaim // by namespace/name
	volumes map[string]*corev1.PersistentVolume
	byClass map[string]map[string]*corev1.PersistentVolume
	// prebound counts the volumes that name a claim, by claim.
	prebound map[string]int
	classes  map[string]*storagev1.StorageClass
	nodes    map[string]*storagev1.CSINode
	// users are the placed pods of each claim.
	users map[string]map[types.UID]bool
	// reserved are the volumes, and selected the nodes of claims, that decided
	// pods will have but that are not written yet.
	reserved map[string]types.UID
	selected map[string]selectedNode
	// epochs count the changes to a class and its volumes.
	epochs map[string]int64
}

type selectedNode struct {
	pod  types.UID
	node string
}

func newStorage() storage {
	return storage{
		claims: map[string]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{},
		byClass: map[string]map[string]*corev1.PersistentVolume{}, prebound: map[string]int{}, classes: map[string]*storagev1.StorageClass{},
		nodes: map[string]*storagev1.CSINode{}, users: map[string]map[types.UID]bool{},
		reserved: map[string]types.UID{}, selected: map[string]selectedNode{}, epochs: map[string]int64{},
	}
}

// ClaimBinding is what a pod's claim gets on the node that was chosen.
type ClaimBinding struct {
	Claim *corev1.PersistentVolumeClaim
	// Volume is bound to the claim; nil when one is to be provisioned there.
	Volume *corev1.PersistentVolume
}

func claimKey(o *corev1.PersistentVolumeClaim) string { return o.Namespace + "/" + o.Name }

// SetClaim takes over a claim.
func (s *State) SetClaim(o *corev1.PersistentVolumeClaim) { s.storage.claims[claimKey(o)] = o }

// RemoveClaim forgets a claim.
func (s *State) RemoveClaim(o *corev1.PersistentVolumeClaim) { delete(s.storage.claims, claimKey(o)) }

// Claim gives a claim as it was last set; nil when there is none.
func (s *State) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return s.storage.claims[namespace+"/"+name]
}

// SetVolume takes over a volume.
func (s *State) SetVolume(o *corev1.PersistentVolume) {
	s.RemoveVolume(o)
	s.storage.volumes[o.Name] = o
	class := volumehelpers.GetPersistentVolumeClass(o)
	if s.storage.byClass[class] == nil {
		s.storage.byClass[class] = map[string]*corev1.PersistentVolume{}
	}
	s.storage.byClass[class][o.Name] = o
	s.storage.epochs[class]++
	if ref := o.Spec.ClaimRef; ref != nil {
		s.storage.prebound[ref.Namespace+"/"+ref.Name]++
	}
}

// RemoveVolume forgets a volume.
func (s *State) RemoveVolume(o *corev1.PersistentVolume) {
	old := s.storage.volumes[o.Name]
	if old == nil {
		return
	}
	delete(s.storage.volumes, o.Name)
	class := volumehelpers.GetPersistentVolumeClass(old)
	delete(s.storage.byClass[class], o.Name)
	s.storage.epochs[class]++
	if ref := old.Spec.ClaimRef; ref != nil {
		key := ref.Namespace + "/" + ref.Name
		if s.storage.prebound[key]--; s.storage.prebound[key] == 0 {
			delete(s.storage.prebound, key)
		}
	}
}

// SetClass takes over a storage class.
func (s *State) SetClass(o *storagev1.StorageClass) {
	s.storage.classes[o.Name] = o
	s.storage.epochs[o.Name]++
}

// RemoveClass forgets a storage class.
func (s *State) RemoveClass(o *storagev1.StorageClass) {
	delete(s.storage.classes, o.Name)
	s.storage.epochs[o.Name]++
}

// SetCSINode takes over how many volumes a node can attach.
func (s *State) SetCSINode(o *storagev1.CSINode) {
	s.storage.nodes[o.Name] = o
	s.touch(o.Name)
}

// RemoveCSINode forgets that.
func (s *State) RemoveCSINode(o *storagev1.CSINode) {
	delete(s.storage.nodes, o.Name)
	s.touch(o.Name)
}

func (s *State) touch(node string) {
	if place, ok := s.places[node]; ok {
		s.changes.add(place)
	}
}

// Reserve keeps for a decided pod what its claims get on its node, until
// Unreserve.
func (s *State) Reserve(pod types.UID, node string, claims []ClaimBinding) {
	for _, c := range claims {
		if c.Volume != nil {
			s.storage.reserved[c.Volume.Name] = pod
			s.storage.epochs[volumehelpers.GetPersistentVolumeClass(c.Volume)]++
		}
		s.storage.selected[claimKey(c.Claim)] = selectedNode{pod, node}
	}
}

// Unreserve gives free what Reserve kept for the pod.
func (s *State) Unreserve(pod types.UID) {
	maps.DeleteFunc(s.storage.selected, func(_ string, at selectedNode) bool { return at.pod == pod })
	for name, by := range s.storage.reserved {
		if by != pod {
			continue
		}
		delete(s.storage.reserved, name)
		if pv := s.storage.volumes[name]; pv != nil {
			s.storage.epochs[volumehelpers.GetPersistentVolumeClass(pv)]++
		}
	}
}

// use counts a placed pod among the users of its claims.
func (s *State) use(p *Pod, placed bool) {
	for _, ref := range p.claims {
		users := s.storage.users[ref.key]
		switch {
		case placed && users == nil:
			s.storage.users[ref.key] = map[types.UID]bool{p.UID: true}
		case placed:
			users[p.UID] = true
		default:
			if delete(users, p.UID); len(users) == 0 {
				delete(s.storage.users, ref.key)
			}
		}
	}
}
