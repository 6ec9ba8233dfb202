package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/headway-sh/headway/internal/failpoint"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

const (
	specType     = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
	resourceType = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
	processType  = "types.containerd.io/opencontainers/runtime-spec/1/Process"
	// gcRoot keeps a snapshot that no container refers to yet; it costs
	// nothing, while a lease costs two writes to disk.
	gcRoot = "containerd.io/gc.root"
)

type preparedRootfs []mount.Mount

// containerID is the same for the same attempt in the same sandbox, which
// makes Create idempotent. A sandbox made anew (after a reboot) gives new IDs,
// so nothing that an old container left, such as runc's state, is in the way.
func containerID(c runtime.ContainerConfig, sandbox time.Time) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		c.PodUID, c.Name, strconv.Itoa(c.Attempt), strconv.FormatInt(sandbox.UnixNano(), 10),
	}, "\x00")))
	return fmt.Sprintf("%x", sum)
}

// Create implements runtime.Interface.
func (r *Runtime) Create(ctx context.Context, config runtime.ContainerConfig) (string, error) {
	if !validUID.MatchString(config.PodUID) {
		return "", fmt.Errorf("create container %q: pod UID %q is not valid", config.Name, config.PodUID)
	}
	defer r.pods.lock(config.PodUID)()
	sandbox, err := readSandbox(r.podDir(config.PodUID))
	if err == nil && !r.sandboxReady(r.podDir(config.PodUID), sandbox) {
		err = errors.New("its namespaces are not there")
	}
	if err != nil {
		return "", fmt.Errorf("create container %q: sandbox of pod %q: %w", config.Name, config.PodUID, err)
	}
	id := containerID(config, sandbox.Created)
	if _, err := r.lookup(ctx, id); err == nil {
		return id, nil
	} else if !errors.Is(err, errUnknown) {
		return "", fmt.Errorf("create container %q: %w", config.Name, err)
	}
	if err := r.create(ctx, id, config, sandbox.Config); err != nil {
		return "", fmt.Errorf("create container %q: %w", config.Name, err)
	}
	return id, nil
}

func (r *Runtime) create(ctx context.Context, id string, config runtime.ContainerConfig, sandbox runtime.SandboxConfig) error {
	image, err := r.findImage(ctx, config.Image)
	if err != nil {
		return err
	}
	rootfs, err := r.snaps.Prepare(r.in(ctx), id, image.chainID, snapshots.WithLabels(map[string]string{
		gcRoot: r.clock.Now().UTC().Format(time.RFC3339), podLabel: config.PodUID,
	}))
	if errdefs.IsAlreadyExists(err) { // of a Create that was interrupted
		rootfs, err = r.snaps.Mounts(r.in(ctx), id)
	}
	if err != nil {
		return fmt.Errorf("prepare root file system: %w", err)
	}
	if err := failpoint.Hit(ctx, "containerd.snapshot.prepared"); err != nil {
		return err
	}
	user, err := resolveUser(config, image.config.Config.User, r.images.users(image.id, rootfs))
	if err != nil {
		return err
	}
	target, err := r.target(ctx, config.Target)
	if err != nil {
		return err
	}
	spec, err := buildSpec(ctx, specInput{
		target: target,
		id:     id, config: config, image: image.config.Config, user: user,
		sandbox: sandbox, podDir: r.podDir(sandbox.PodUID), host: r.host,
	})
	if err != nil {
		return err
	}
	m := &meta{
		PodUID: config.PodUID, Name: config.Name, Attempt: config.Attempt,
		ImageRef: config.Image, ImageID: image.id, LogPath: config.LogPath, Cgroup: spec.Linux.CgroupsPath,
		TTY: config.TTY, Stdin: config.Stdin, StdinOnce: config.StdinOnce, User: userOf(user), Labels: config.Labels, snapshotID: id,
	}
	if err := r.register(ctx, id, m, image.name, sandbox.Handler, spec); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[id], r.rootfs[id] = m, rootfs
	return nil
}

// User implements runtime.Interface.
func (r *Runtime) User(ctx context.Context, id string) (*runtime.User, error) {
	m, err := r.lookup(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("user of container: %w", err)
	}
	return m.User, nil
}

// target is the first process of the container whose processes another shall
// see; 0 when none is asked for.
func (r *Runtime) target(ctx context.Context, id string) (int, error) {
	if id == "" {
		return 0, nil
	}
	t, err := r.task(ctx, id)
	if err != nil {
		return 0, err
	}
	if t == nil || t.stopped || t.pid == 0 {
		return 0, errors.New("the target container does not run")
	}
	return t.pid, nil
}

func (r *Runtime) register(ctx context.Context, id string, m *meta, image, handler string, spec *specs.Spec) error {
	shim, err := r.shim(handler)
	if err != nil {
		return err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	extra, err := m.any()
	if err != nil {
		return err
	}
	record := containers.Container{
		ID: id, Image: image, Labels: map[string]string{podLabel: m.PodUID},
		Runtime: shim, Spec: &anypb.Any{TypeUrl: specType, Value: text},
		Snapshotter: r.config.Snapshotter, SnapshotKey: id,
		Extensions: map[string]typeurl.Any{extension: extra},
	}
	created, err := r.client.ContainerService().Create(r.in(ctx), record)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	m.created = created.CreatedAt
	return failpoint.Hit(ctx, "containerd.create.after")
}

// Remove implements runtime.Interface.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	m, err := r.lookup(ctx, id)
	if errors.Is(err, errUnknown) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	defer r.pods.lock(m.PodUID)()
	if err := r.remove(ctx, id); err != nil {
		return fmt.Errorf("remove container %q: %w", id, err)
	}
	return nil
}

// remove is Remove with the pod's lock held.
func (r *Runtime) remove(ctx context.Context, id string) error {
	if err := r.kill(ctx, id, sigKill, true); err != nil {
		return err
	}
	if err := r.awaitExit(ctx, id); err != nil {
		return err
	}
	if err := r.discardTask(ctx, id); err != nil {
		return err
	}
	if err := r.config.Keeper.Remove(ctx, id); err != nil {
		return err
	}
	if err := r.client.ContainerService().Delete(r.in(ctx), id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete: %w", err)
	}
	if err := r.snaps.Remove(r.in(ctx), id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove root file system: %w", err)
	}
	if err := r.removeStdin(id); err != nil {
		return err
	}
	r.forget(id)
	return r.forgetLife(id)
}

// List implements runtime.Interface.
func (r *Runtime) List(ctx context.Context) ([]runtime.Sandbox, []runtime.Container, error) {
	sandboxes, err := r.sandboxes()
	if err != nil {
		return nil, nil, fmt.Errorf("list sandboxes: %w", err)
	}
	records, err := r.client.ContainerService().List(r.in(ctx))
	if err != nil {
		return nil, nil, fmt.Errorf("list containers: %w", err)
	}
	running, err := r.listTasks(ctx)
	if err != nil {
		return nil, nil, err
	}
	var list []runtime.Container
	for _, record := range records {
		m := metaOf(record)
		if m == nil {
			continue
		}
		r.learn(record.ID, m)
		l, err := r.readLife(record.ID)
		if err != nil {
			return nil, nil, fmt.Errorf("list containers: %w", err)
		}
		list = append(list, r.container(record.ID, m, l, running[record.ID]))
	}
	return sandboxes, list, nil
}

// container puts together what containerd, the life file and the task say.
func (r *Runtime) container(id string, m *meta, l life, t *taskState) runtime.Container {
	if l.Finished.IsZero() && t != nil && t.stopped {
		l = r.ended(m, l, t)
	}
	c := runtime.Container{
		ID: id, PodUID: m.PodUID, Name: m.Name, Attempt: m.Attempt, ImageRef: m.ImageRef, ImageID: m.ImageID,
		State: l.state(), Created: m.created, Started: l.Started, Finished: l.Finished, ExitCode: l.ExitCode,
		OOMKilled: l.OOMKilled, Reason: l.Reason, Message: l.Message, LogPath: m.LogPath, User: m.User, Labels: m.Labels,
	}
	if c.State == runtime.StateRunning && t != nil {
		c.PID = t.pid
	}
	return c
}

func (r *Runtime) ioPath(id, end string) string {
	return filepath.Join(r.config.RunDir, "io", id+"-"+end)
}
