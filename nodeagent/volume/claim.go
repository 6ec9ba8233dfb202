package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/localvolume"
)

// claimed gives the directory of the volume that a pod's claim is bound to. It
// is remembered as a link in the pod's directory: a pod that has its volumes
// needs no API to find them again.
func (v *Volumes) claimed(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) (string, error) {
	link := v.path(pod.UID, volume.Name)
	if target, err := os.Readlink(link); err == nil {
		if _, err := os.Stat(target); err == nil {
			return target, nil
		}
	}
	claim, err := v.claim(ctx, pod, volume)
	if err != nil {
		return "", err
	}
	pv := &corev1.PersistentVolume{}
	if err := v.Client.Get(ctx, client.ObjectKey{Name: claim.Spec.VolumeName}, pv); err != nil {
		return "", fmt.Errorf("get persistentvolume %q: %w", claim.Spec.VolumeName, err)
	}
	if pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != claim.UID {
		return "", fmt.Errorf("persistentvolume %q is not bound to persistentvolumeclaim %q", pv.Name, claim.Name)
	}
	if v.NodeLabels != nil {
		if err := volumehelpers.CheckNodeAffinity(pv, v.NodeLabels()); err != nil {
			return "", fmt.Errorf("persistentvolume %q is not on this node: %w", pv.Name, err)
		}
	}
	path, err := v.persistent(pv, pod)
	if err != nil {
		return "", fmt.Errorf("persistentvolume %q: %w", pv.Name, err)
	}
	return path, relink(link, path)
}

// claim gets the claim of a volume and checks that the pod may have it.
func (v *Volumes) claim(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) (*corev1.PersistentVolumeClaim, error) {
	name := pod.Name + "-" + volume.Name
	if volume.PersistentVolumeClaim != nil {
		name = volume.PersistentVolumeClaim.ClaimName
	}
	claim := &corev1.PersistentVolumeClaim{}
	if err := v.Client.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: name}, claim); err != nil {
		return nil, fmt.Errorf("get persistentvolumeclaim %q: %w", name, err)
	}
	switch {
	case volume.Ephemeral != nil && !metav1.IsControlledBy(claim, pod):
		return nil, fmt.Errorf("persistentvolumeclaim %q was not made for this pod", name)
	case claim.Spec.VolumeName == "" || claim.Status.Phase != corev1.ClaimBound:
		return nil, fmt.Errorf("persistentvolumeclaim %q is not bound", name)
	case claim.DeletionTimestamp != nil:
		return nil, fmt.Errorf("persistentvolumeclaim %q is being deleted", name)
	}
	return claim, nil
}

// persistent gives the directory of a persistent volume on this node, and makes
// it where that is this node's task.
func (v *Volumes) persistent(pv *corev1.PersistentVolume, pod *corev1.Pod) (string, error) {
	if m := pv.Spec.VolumeMode; m != nil && *m == corev1.PersistentVolumeBlock {
		return "", errors.New("volumeMode Block is not supported")
	}
	switch {
	case localvolume.Is(pv):
		path := v.localPath(pv)
		if err := makeLocal(path); err != nil {
			return "", err
		}
		return path, own(path, pod)
	case pv.Spec.Local != nil:
		info, err := os.Stat(pv.Spec.Local.Path)
		if err != nil {
			return "", fmt.Errorf("local volume: %w", err)
		}
		if !info.IsDir() {
			return "", fmt.Errorf("local volume: %s is no directory", pv.Spec.Local.Path)
		}
		return pv.Spec.Local.Path, own(pv.Spec.Local.Path, pod)
	case pv.Spec.HostPath != nil:
		return pv.Spec.HostPath.Path, hostPath(pv.Spec.HostPath)
	}
	return "", errors.New("this kind of volume is not supported")
}

func (v *Volumes) localPath(pv *corev1.PersistentVolume) string {
	return filepath.Join(v.LocalDir, pv.Spec.CSI.VolumeHandle)
}

// makeLocal makes a volume's directory, open to every user: who may use it is
// what its claim decides.
func makeLocal(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	err := os.Mkdir(path, 0o777)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, 0o777) // whatever the umask
}

func relink(link, target string) error {
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, link)
}

// own gives all of a volume to the pod's group, as its fsGroup asks: readable
// and writable by the group, and what is made in a directory gets its group.
// With the policy OnRootMismatch a root that is right stands for the rest.
func own(root string, pod *corev1.Pod) error {
	group := fsGroup(pod)
	if group == nil {
		return nil
	}
	if p := pod.Spec.SecurityContext.FSGroupChangePolicy; p != nil && *p == corev1.FSGroupChangeOnRootMismatch {
		if info, err := os.Stat(root); err == nil && owned(info, *group) {
			return nil
		}
	}
	// Below an opened root no link can lead out of the volume.
	dir, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // only read
	return fs.WalkDir(dir.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := dir.Lchown(path, -1, int(*group)); err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return ifThere(err)
		}
		info, err := entry.Info()
		if err != nil {
			return ifThere(err)
		}
		return ifThere(dir.Chmod(path, info.Mode()|groupMode(info)))
	})
}

// ifThere forgives that a file has gone while the volume was walked.
func ifThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func groupMode(info fs.FileInfo) fs.FileMode {
	if info.IsDir() {
		return 0o770 | fs.ModeSetgid
	}
	return 0o660
}
