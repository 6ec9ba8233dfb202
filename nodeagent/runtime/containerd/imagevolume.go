package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// imagePrefix is before the names of the places where a pod's image volumes
// are mounted, directly in its directory: stopping the sandbox unmounts them.
const imagePrefix = "image-"

// MountImage implements runtime.Interface.
func (r *Runtime) MountImage(ctx context.Context, podUID, name, image string) (string, error) {
	if !validUID.MatchString(podUID) || !validUID.MatchString(name) {
		return "", fmt.Errorf("mount image: pod UID %q or name %q is not valid", podUID, name)
	}
	defer r.pods.lock(podUID)()
	target := filepath.Join(r.podDir(podUID), imagePrefix+name)
	if err := r.mountImage(ctx, podUID, name, image, target); err != nil {
		return "", fmt.Errorf("mount image %q: %w", image, err)
	}
	return target, nil
}

func (r *Runtime) mountImage(ctx context.Context, podUID, name, image, target string) error {
	if mounted, err := mountedAt(target); err != nil || mounted {
		return err
	}
	found, err := r.findImage(ctx, image)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(target, 0o711); err != nil {
		return err
	}
	key := imageKey(podUID, name)
	// One of another image may be there from before the machine's restart.
	if err := r.snaps.Remove(r.in(ctx), key); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove the view before: %w", err)
	}
	mounts, err := r.snaps.View(r.in(ctx), key, found.chainID, snapshots.WithLabels(map[string]string{
		gcRoot: r.clock.Now().UTC().Format(time.RFC3339), podLabel: podUID,
	}))
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	for i := range mounts {
		mounts[i].Options = append(mounts[i].Options, "ro")
	}
	return mount.All(mounts, target)
}

func imageKey(podUID, name string) string { return podUID + "/" + imagePrefix + name }

// mountedAt tells whether something is mounted on a directory.
func mountedAt(path string) (bool, error) {
	var own, parent unix.Stat_t
	err := unix.Stat(path, &own)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err == nil {
		err = unix.Stat(filepath.Dir(path), &parent)
	}
	return err == nil && own.Dev != parent.Dev, err
}

// forgetImages removes the views of what was mounted for a pod.
func (r *Runtime) forgetImages(ctx context.Context, podUID string) error {
	entries, err := os.ReadDir(r.podDir(podUID))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), imagePrefix)
		if !ok {
			continue
		}
		if err := r.snaps.Remove(r.in(ctx), imageKey(podUID, name)); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove image volume %q: %w", name, err)
		}
	}
	return nil
}
