package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	helper "k8s.io/component-helpers/resource"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/nodeagent/env"
	"github.com/headway-sh/headway/nodeagent/follow"
)

// Objects gives the ConfigMaps and Secrets that pods refer to and remembers
// who wants them.
type Objects interface {
	Get(ctx context.Context, ref follow.Ref, owner types.UID) (client.Object, error)
}

// Config is what volumes are made with.
type Config struct {
	// Dir holds a directory for each pod, LocalDir one for each persistent
	// volume of this node.
	Dir, LocalDir string
	Client        client.Client
	// NodeLabels are the Node's; nil: where a volume can be used is not checked.
	NodeLabels func() map[string]string
	// Watch follows this node's persistent volumes; see RemoveReleased.
	Watch   client.WithWatch
	Objects Objects
	Clock   clock.PassiveClock
	Logger  *slog.Logger
}

// Volumes makes and removes pods' volumes. Calls for one pod are serialised by
// the caller; those for different pods are not.
type Volumes struct {
	Config
	mu     sync.Mutex // guards tokens
	tokens map[types.UID]map[string]token
}

// New makes it.
func New(config Config) *Volumes {
	return &Volumes{Config: config, tokens: map[types.UID]map[string]token{}}
}

// SetUp makes all of a pod's volumes and gives their paths by name. It finds
// what is there already and brings it up to date.
func (v *Volumes) SetUp(ctx context.Context, pod *corev1.Pod, facts env.Facts) (map[string]string, error) {
	paths := map[string]string{}
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if volume.Image != nil {
			continue // mounted by the runtime when a container wants it
		}
		path, err := v.setUp(ctx, pod, volume, facts)
		if err != nil {
			return paths, fmt.Errorf("set up volume %q: %w", volume.Name, err)
		}
		paths[volume.Name] = path
	}
	return paths, nil
}

// Refresh brings what is written from API objects up to date.
func (v *Volumes) Refresh(ctx context.Context, pod *corev1.Pod, facts env.Facts) error {
	var errs []error
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if p, ok := payloadOf(volume); ok {
			if err := v.write(ctx, pod, volume.Name, p, facts); err != nil {
				errs = append(errs, fmt.Errorf("update volume %q: %w", volume.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// NextRefresh is when one of the pod's tokens wants a new one; zero if none.
func (v *Volumes) NextRefresh(uid types.UID) time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	var next time.Time
	for _, t := range v.tokens[uid] {
		if next.IsZero() || t.renew.Before(next) {
			next = t.renew
		}
	}
	return next
}

// TearDown unmounts and removes everything of a pod's volumes.
func (v *Volumes) TearDown(uid types.UID) error {
	v.mu.Lock()
	delete(v.tokens, uid)
	v.mu.Unlock()
	dir := filepath.Join(v.Dir, string(uid))
	if err := unmountBelow(dir); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(dir, "subpaths")), os.RemoveAll(filepath.Join(dir, "volumes")))
}

// Path is where a pod's volume is that is made of files below Dir.
func (v *Volumes) Path(uid types.UID, name string) string { return v.path(uid, name) }

func (v *Volumes) path(uid types.UID, name string) string {
	return filepath.Join(v.Dir, string(uid), "volumes", name)
}

func (v *Volumes) setUp(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume, facts env.Facts) (string, error) {
	path := v.path(pod.UID, volume.Name)
	if p, ok := payloadOf(volume); ok {
		return path, v.write(ctx, pod, volume.Name, p, facts)
	}
	switch {
	case volume.EmptyDir != nil:
		return path, emptyDir(path, volume.EmptyDir, fsGroup(pod), memoryLimit(volume.EmptyDir, pod))
	case volume.HostPath != nil:
		return volume.HostPath.Path, hostPath(volume.HostPath)
	case volume.PersistentVolumeClaim != nil, volume.Ephemeral != nil:
		return v.claimed(ctx, pod, volume)
	}
	return "", errors.New("this kind of volume is not supported")
}

// memoryLimit is how large a volume in memory can get: its own limit and the
// pod's limit of memory, whichever is less; 0 is none.
func memoryLimit(e *corev1.EmptyDirVolumeSource, pod *corev1.Pod) int64 {
	limits := helper.PodLimits(pod, helper.PodResourcesOptions{})
	limit := limits[corev1.ResourceMemory]
	size := int64(0)
	if limited(pod, corev1.ResourceMemory) {
		size = limit.Value()
	}
	if own := e.SizeLimit; own != nil && own.Value() > 0 && (size == 0 || own.Value() < size) {
		size = own.Value()
	}
	return size
}

// limited tells whether the pod or every container of it has a limit.
func limited(pod *corev1.Pod, name corev1.ResourceName) bool {
	if r := pod.Spec.Resources; r != nil {
		if _, ok := r.Limits[name]; ok {
			return true
		}
	}
	return !slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		_, ok := c.Resources.Limits[name]
		return !ok
	})
}

func emptyDir(path string, e *corev1.EmptyDirVolumeSource, group *int64, size int64) error {
	_, err := os.Stat(path)
	fresh := os.IsNotExist(err)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	switch e.Medium {
	case corev1.StorageMediumDefault:
	case corev1.StorageMediumMemory:
		options := "mode=0777"
		if size > 0 {
			options += fmt.Sprintf(",size=%d", size)
		}
		mounted, err := tmpfs(path, options)
		if err != nil {
			return err
		}
		fresh = fresh || mounted
	default:
		page, ok := strings.CutPrefix(string(e.Medium), string(corev1.StorageMediumHugePages))
		if !ok {
			return fmt.Errorf("storage medium %q is not supported", e.Medium)
		}
		mounted, err := hugetlbfs(path, strings.TrimPrefix(page, "-"))
		if err != nil {
			return err
		}
		fresh = fresh || mounted
	}
	if !fresh {
		return nil // its permissions are the pod's by now
	}
	mode := os.FileMode(0o777)
	if group != nil {
		if err := os.Chown(path, -1, int(*group)); err != nil {
			return err
		}
		mode |= os.ModeSetgid
	}
	return os.Chmod(path, mode)
}

// hostPath checks the path, or makes it where its type says so.
func hostPath(h *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	switch kind {
	case corev1.HostPathUnset:
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if err := os.MkdirAll(h.Path, 0o755); err != nil {
			return err
		}
		kind = corev1.HostPathDirectory
	case corev1.HostPathFileOrCreate:
		file, err := os.OpenFile(h.Path, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
		kind = corev1.HostPathFile
	}
	info, err := os.Stat(h.Path)
	if err != nil {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	wanted := map[corev1.HostPathType]bool{
		corev1.HostPathDirectory: info.IsDir(),
		corev1.HostPathFile:      info.Mode().IsRegular(),
		corev1.HostPathSocket:    info.Mode()&os.ModeSocket != 0,
		corev1.HostPathCharDev:   info.Mode()&os.ModeCharDevice != 0,
		corev1.HostPathBlockDev:  info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0,
	}
	if !wanted[kind] {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", h.Path, kind)
	}
	return nil
}

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}
