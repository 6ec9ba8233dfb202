package volume

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/headway-sh/headway/internal/localvolume"
	"github.com/headway-sh/headway/nodeagent/follow"
)

// removalRetry is the pause before a removal that failed is tried again.
const removalRetry = 10 * time.Second

// RemoveReleased removes the directories of this node's volumes that are being
// deleted under the policy Delete, and then lets the volumes go, until ctx ends.
// host is the node's host name.
func (v *Volumes) RemoveReleased(ctx context.Context, host string) {
	var removals sync.WaitGroup
	defer removals.Wait()
	busy := &sync.Map{}
	seen := func(pv *corev1.PersistentVolume) {
		if !v.removable(pv, host) {
			return
		}
		if _, running := busy.LoadOrStore(pv.UID, true); running {
			return
		}
		removals.Go(func() {
			defer busy.Delete(pv.UID)
			v.removeUntilDone(ctx, pv, host)
		})
	}
	follow.List(ctx, v.Watch, v.Logger, &corev1.PersistentVolume{}, func() client.ObjectList { return &corev1.PersistentVolumeList{} },
		follow.Handler[*corev1.PersistentVolume]{
			Replace: func(all []*corev1.PersistentVolume) {
				for _, pv := range all {
					seen(pv)
				}
			},
			Set: seen, Delete: func(*corev1.PersistentVolume) {},
		}, client.MatchingLabels{corev1.LabelHostname: host})
}

// removable tells whether a volume's directory is this node's to remove: data
// goes only where a deletion was asked for by name.
func (v *Volumes) removable(pv *corev1.PersistentVolume, host string) bool {
	return pv.DeletionTimestamp != nil && localvolume.Is(pv) && localvolume.Host(pv) == host &&
		pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete &&
		pv.Status.Phase != corev1.VolumeBound && controllerutil.ContainsFinalizer(pv, localvolume.Finalizer)
}

func (v *Volumes) removeUntilDone(ctx context.Context, pv *corev1.PersistentVolume, host string) {
	for {
		err := v.remove(ctx, pv, host)
		if err == nil {
			return
		}
		v.Logger.Warn("volume not removed", "volume", pv.Name, "err", err)
		pause := time.NewTimer(removalRetry)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// remove looks at the volume as it is now before anything goes.
func (v *Volumes) remove(ctx context.Context, pv *corev1.PersistentVolume, host string) error {
	// Others take their finalizers off at the same time.
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		now := &corev1.PersistentVolume{}
		if err := v.Client.Get(ctx, client.ObjectKeyFromObject(pv), now); err != nil {
			return err
		}
		if now.UID != pv.UID || !v.removable(now, host) {
			return nil
		}
		if err := os.RemoveAll(v.localPath(now)); err != nil {
			return fmt.Errorf("remove directory: %w", err)
		}
		after := now.DeepCopy()
		controllerutil.RemoveFinalizer(after, localvolume.Finalizer)
		return v.Client.Patch(ctx, after, client.MergeFromWithOptions(now, client.MergeFromWithOptimisticLock{}))
	})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("let volume %q go: %w", pv.Name, err)
	}
	return nil
}

func owned(info fs.FileInfo, group int64) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(stat.Gid) == group && info.Mode()&groupMode(info) == groupMode(info)
}
