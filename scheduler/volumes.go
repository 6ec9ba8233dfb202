package scheduler

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"

	"github.com/headway-sh/headway/scheduler/core"
)

// VolumeTimeout is how long a decided pod waits for its volumes.
const VolumeTimeout = 10 * time.Minute

// awaitVolumes has written what was decided about the pod's claims.
func (s *Scheduler) awaitVolumes(a *awaited) {
	a.until = s.clock.Now().Add(VolumeTimeout)
	s.volumes.add(a)
}

// bindVolumes writes what was decided about claims until ctx ends.
func (s *Scheduler) bindVolumes(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.volumes.ready:
		}
		for taken := s.volumes.take(1); len(taken) > 0; taken = s.volumes.take(1) {
			a := taken[0]
			var err error
			for _, c := range a.claims {
				if err = s.writeVolume(ctx, c, a.node); err != nil {
					break
				}
			}
			if ctx.Err() != nil {
				return nil
			}
			s.inbox.put(func(s *Scheduler) {
				if s.awaiting[a.pod.UID] != a {
					return
				}
				if err != nil {
					s.volumesFailed(a, err)
					return
				}
				a.written = true
				s.lookAtVolumes(a)
			})
		}
	}
}

// writeVolume binds the chosen volume to the claim, or says on the claim where
// a volume is to be made. Both fail when the object has changed since.
func (s *Scheduler) writeVolume(ctx context.Context, c core.ClaimBinding, node string) error {
	if c.Volume != nil {
		volume, changed, err := volumehelpers.GetBindVolumeToClaim(c.Volume, c.Claim)
		if err == nil && changed {
			err = s.config.Client.Update(ctx, volume)
		}
		if err != nil {
			return fmt.Errorf("bind volume %q to claim %q: %w", c.Volume.Name, c.Claim.Name, err)
		}
		return nil
	}
	if c.Claim.Annotations[volumehelpers.AnnSelectedNode] == node {
		return nil
	}
	claim := c.Claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volumehelpers.AnnSelectedNode, node)
	if err := s.config.Client.Update(ctx, claim); err != nil {
		return fmt.Errorf("select node %q for claim %q: %w", node, claim.Name, err)
	}
	return nil
}

// lookAtVolumes binds the pod once all of its claims are bound, or gives up
// when a provisioner has.
func (s *Scheduler) lookAtVolumes(a *awaited) {
	if !a.written {
		return
	}
	for _, c := range a.claims {
		now := s.state.Claim(c.Claim.Namespace, c.Claim.Name)
		switch {
		case core.ClaimBound(now):
			continue
		case now == nil || now.UID != c.Claim.UID:
			s.volumesFailed(a, fmt.Errorf("persistentvolumeclaim %q has gone", c.Claim.Name))
		case c.Volume == nil && newer(now, c.Claim) && now.Annotations[volumehelpers.AnnSelectedNode] != a.node:
			s.volumesFailed(a, fmt.Errorf("provisioning failed for PVC %q", c.Claim.Name))
		}
		return
	}
	s.arrived(a)
}

// newer tells whether the watch has seen the claim since it was decided about.
func newer(now, then *corev1.PersistentVolumeClaim) bool {
	return now.ResourceVersion != then.ResourceVersion
}

func (s *Scheduler) volumesFailed(a *awaited, err error) {
	s.failed(a, fmt.Errorf("bind volumes: %w", err))
}

func (s *Scheduler) storageChanged() { s.queue.Wake(core.StorageChanged, s.clock.Now()) }

func (s *Scheduler) setClaim(o *corev1.PersistentVolumeClaim) {
	s.state.SetClaim(o)
	for _, a := range s.awaiting {
		s.lookAtVolumes(a)
	}
	s.storageChanged()
}

func (s *Scheduler) removeClaim(o *corev1.PersistentVolumeClaim) {
	s.state.RemoveClaim(o)
	for _, a := range s.awaiting {
		s.lookAtVolumes(a)
	}
}

func (s *Scheduler) setVolume(o *corev1.PersistentVolume) {
	s.state.SetVolume(o)
	s.storageChanged()
}

func (s *Scheduler) removeVolume(o *corev1.PersistentVolume) {
	s.state.RemoveVolume(o)
	s.storageChanged()
}

func (s *Scheduler) setClass(o *storagev1.StorageClass) {
	s.state.SetClass(o)
	s.storageChanged()
}

func (s *Scheduler) removeClass(o *storagev1.StorageClass) { s.state.RemoveClass(o) }

func (s *Scheduler) setCSINode(o *storagev1.CSINode) {
	s.state.SetCSINode(o)
	s.storageChanged()
}

func (s *Scheduler) removeCSINode(o *storagev1.CSINode) {
	s.state.RemoveCSINode(o)
	s.storageChanged()
}
