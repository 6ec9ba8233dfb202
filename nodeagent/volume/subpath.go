package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/env"
)

// Mounts are a container's volume mounts. values are its environment, for
// subPathExpr.
func (v *Volumes) Mounts(pod *corev1.Pod, c *corev1.Container, paths, values map[string]string) ([]specs.Mount, error) {
	var all []specs.Mount
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		source, ok := paths[m.Name]
		if !ok {
			return nil, fmt.Errorf("mount %q: there is no such volume", m.Name)
		}
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = env.Expand(m.SubPathExpr, values)
			if strings.Contains(sub, "$(") {
				return nil, fmt.Errorf("mount %q: subPathExpr %q names a variable that is not set", m.Name, m.SubPathExpr)
			}
		}
		if sub != "" {
			target := filepath.Join(v.Dir, string(pod.UID), "subpaths", c.Name, strconv.Itoa(i))
			if err := bindSubPath(source, sub, target); err != nil {
				return nil, fmt.Errorf("mount %q: subPath %q: %w", m.Name, sub, err)
			}
			source = target
		}
		mount := specs.Mount{Source: source, Destination: m.MountPath, Type: "bind", Options: options(m, readOnly(pod, m.Name))}
		if isImage(pod, m.Name) {
			mount.Options = append(mount.Options, "noexec", "nosuid", "nodev") // KEP-4639
		}
		all = append(all, mount)
	}
	return all, nil
}

// readOnly tells whether a volume of the pod is read-only for all its containers.
func readOnly(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Name == name && (v.Image != nil || v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly)
	})
}

func isImage(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name && v.Image != nil })
}

func options(m *corev1.VolumeMount, always bool) []string {
	all := []string{"rbind", "rprivate"}
	if p := m.MountPropagation; p != nil {
		switch *p {
		case corev1.MountPropagationHostToContainer:
			all[1] = "rslave"
		case corev1.MountPropagationBidirectional:
			all[1] = "rshared"
		case corev1.MountPropagationNone:
		}
	}
	if r := m.RecursiveReadOnly; m.ReadOnly && r != nil && *r != corev1.RecursiveReadOnlyDisabled {
		return append(all, "rro")
	}
	if m.ReadOnly || always {
		return append(all, "ro")
	}
	return append(all, "rw")
}

// bindSubPath binds what sub leads to below root onto target. Every step stays
// below root in the kernel's own eyes, so that a container which changes the
// path meanwhile gains nothing; what is bound is the opened file, not a name.
func bindSubPath(root, sub, target string) error {
	if !filepath.IsLocal(sub) {
		return errors.New("it leads out of the volume")
	}
	fd, directory, err := openBelow(root, filepath.Clean(sub))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if mounted, err := mountPoint(target); err != nil || mounted {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if directory {
		err = os.MkdirAll(target, 0o755)
	} else {
		err = os.WriteFile(target, nil, 0o600)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// openBelow opens sub below root, making directories that are missing.
func openBelow(root, sub string) (fd int, directory bool, err error) {
	base, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, false, fmt.Errorf("open volume: %w", err)
	}
	defer unix.Close(base)
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	fd, err = unix.Openat2(base, sub, how)
	if errors.Is(err, unix.ENOENT) {
		if err := makeBelow(base, sub); err != nil {
			return -1, false, err
		}
		fd, err = unix.Openat2(base, sub, how)
	}
	if err != nil {
		return -1, false, fmt.Errorf("open: %w", err)
	}
	var s unix.Stat_t
	if err := unix.Fstat(fd, &s); err != nil {
		unix.Close(fd)
		return -1, false, fmt.Errorf("stat: %w", err)
	}
	return fd, s.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

func makeBelow(base int, sub string) error {
	var root unix.Stat_t
	if err := unix.Fstat(base, &root); err != nil {
		return fmt.Errorf("stat volume: %w", err)
	}
	at, err := unix.Dup(base)
	if err != nil {
		return err
	}
	defer func() { unix.Close(at) }()
	for name := range strings.SplitSeq(sub, "/") {
		if err := unix.Mkdirat(at, name, root.Mode&0o777); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("make directory: %w", err)
		}
		next, err := unix.Openat2(at, name, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
		if err != nil {
			return fmt.Errorf("open directory: %w", err)
		}
		unix.Close(at)
		at = next
	}
	return nil
}
