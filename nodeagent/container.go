package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/nodeagent/cgroup"
	"github.com/headway-sh/headway/nodeagent/env"
	"github.com/headway-sh/headway/nodeagent/follow"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

// containerConfig is a container for the runtime.
func (w *worker) containerConfig(ctx context.Context, a *attempt, image runtime.Image, paths map[string]string) (runtime.ContainerConfig, error) {
	c := a.spec
	vars, err := env.Build(ctx, a.facts, c, w.agent.services.Variables(a.pod), source{w.agent, a.pod})
	if err != nil {
		return runtime.ContainerConfig{}, err
	}
	values := env.Values(vars)
	mounts, err := w.agent.volumes.Mounts(a.pod, c, paths, values)
	if err != nil {
		return runtime.ContainerConfig{}, err
	}
	own, err := w.ownMounts(a, mounts)
	if err != nil {
		return runtime.ContainerConfig{}, err
	}
	logPath := w.logPath(c.Name, a.number)
	if err := os.MkdirAll(filepath.Dir(logPath), 0o755); err != nil {
		return runtime.ContainerConfig{}, err
	}
	config := runtime.ContainerConfig{
		PodUID: string(w.uid), Name: c.Name, Attempt: a.number, Image: image.ID,
		Command: expand(c.Command, values), Args: expand(c.Args, values), WorkingDir: c.WorkingDir,
		Env: append([]string{"HOSTNAME=" + w.agent.kernelName(a.pod)}, vars...), Mounts: append(mounts, own...), LogPath: logPath,
		Stdin: c.Stdin, StdinOnce: c.StdinOnce, TTY: c.TTY,
		Resources: cgroup.Container(c), OOMScoreAdj: cgroup.OOMScoreAdj(a.pod, c, w.agent.memory()),
		Target: w.target(a.pod, c.Name),
		Labels: map[string]string{
			"io.kubernetes.pod.uid": string(w.uid), "io.kubernetes.pod.name": a.pod.Name,
			"io.kubernetes.pod.namespace": a.pod.Namespace, "io.kubernetes.container.name": c.Name,
		},
	}
	return config, secure(&config, a.pod, c, image, w.agent.SeccompDir())
}

// target is the running container whose processes an ephemeral one shall see.
func (w *worker) target(pod *corev1.Pod, name string) string {
	for i := range pod.Spec.EphemeralContainers {
		if e := &pod.Spec.EphemeralContainers[i]; e.Name == name && e.TargetContainerName != "" {
			return w.shared.Load().ids[e.TargetContainerName]
		}
	}
	return ""
}

// secure carries the security contexts over, the container's before the pod's.
// profiles is where the node's own seccomp profiles are.
func secure(config *runtime.ContainerConfig, pod *corev1.Pod, c *corev1.Container, image runtime.Image, profiles string) error {
	nonRoot := false
	if s := pod.Spec.SecurityContext; s != nil {
		config.RunAsUser, config.RunAsGroup = s.RunAsUser, s.RunAsGroup
		config.SupplementalGroups = append(config.SupplementalGroups, s.SupplementalGroups...)
		config.StrictGroups = s.SupplementalGroupsPolicy != nil && *s.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict
		if s.FSGroup != nil {
			config.SupplementalGroups = append(config.SupplementalGroups, *s.FSGroup)
		}
		nonRoot = s.RunAsNonRoot != nil && *s.RunAsNonRoot
	}
	if s := c.SecurityContext; s != nil {
		if s.RunAsUser != nil {
			config.RunAsUser = s.RunAsUser
		}
		if s.RunAsGroup != nil {
			config.RunAsGroup = s.RunAsGroup
		}
		if s.RunAsNonRoot != nil {
			nonRoot = *s.RunAsNonRoot
		}
		config.Privileged = s.Privileged != nil && *s.Privileged
		config.ReadonlyRootfs = s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem
		config.NoNewPrivileges = s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation && !config.Privileged
		if s.Capabilities != nil {
			config.CapAdd, config.CapDrop = capabilities(s.Capabilities.Add), capabilities(s.Capabilities.Drop)
		}
	}
	if !config.Privileged && (c.SecurityContext == nil || c.SecurityContext.ProcMount == nil || *c.SecurityContext.ProcMount == corev1.DefaultProcMount) {
		config.MaskedPaths, config.ReadonlyPs = maskedPaths(), readonlyPaths()
	}
	if err := confine(config, pod, c, profiles); err != nil {
		return err
	}
	return verifyNonRoot(nonRoot, config, image)
}

func verifyNonRoot(wanted bool, config *runtime.ContainerConfig, image runtime.Image) error {
	switch {
	case !wanted:
		return nil
	case config.RunAsUser != nil:
		if *config.RunAsUser == 0 {
			return errors.New("container's runAsUser breaks non-root policy")
		}
		return nil
	case image.UID != nil:
		if *image.UID == 0 {
			return errors.New("container has runAsNonRoot and image will run as root")
		}
		return nil
	case image.User == "":
		return errors.New("container has runAsNonRoot and image will run as root")
	}
	return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root", image.User)
}

func capabilities(all []corev1.Capability) []string {
	names := make([]string, 0, len(all))
	for _, c := range all {
		names = append(names, string(c))
	}
	return names
}

func maskedPaths() []string {
	return []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// ownMounts are the files that the agent itself gives to a container: hosts,
// resolv.conf, hostname and the place for its last message.
func (w *worker) ownMounts(a *attempt, have []specs.Mount) ([]specs.Mount, error) {
	taken := map[string]bool{}
	for _, m := range have {
		taken[filepath.Clean(m.Destination)] = true
	}
	var all []specs.Mount
	add := func(source, destination string) {
		if !taken[destination] {
			all = append(all, specs.Mount{Source: source, Destination: destination, Type: "bind", Options: []string{"rbind", "rprivate", "rw"}})
		}
	}
	dir := w.agent.podDir(w.uid)
	add(filepath.Join(dir, "etc", "hosts"), "/etc/hosts")
	add(filepath.Join(dir, "etc", "hostname"), "/etc/hostname")
	add(filepath.Join(dir, "etc", "resolv.conf"), "/etc/resolv.conf")
	if path := a.spec.TerminationMessagePath; path != "" {
		file := w.messagePath(a.spec.Name, a.number)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			return nil, err
		}
		// Any user of the container writes here.
		if err := os.Chmod(file, 0o666); err != nil { //nolint:gosec
			return nil, err
		}
		add(file, path)
	}
	return all, nil
}

// messagePath is where an attempt writes why it ended.
func (w *worker) messagePath(name string, attempt int) string {
	return filepath.Join(w.agent.podDir(w.uid), "messages", fmt.Sprintf("%s.%d", name, attempt))
}

func (a *Agent) podDir(uid types.UID) string { return filepath.Join(a.PodsDir(), string(uid)) }

func (a *Agent) memory() int64 {
	if a.Allocatable == nil {
		return 0
	}
	q := a.Allocatable()[corev1.ResourceMemory]
	return q.Value()
}

func expand(all []string, values map[string]string) []string {
	out := make([]string, 0, len(all))
	for _, s := range all {
		out = append(out, env.Expand(s, values))
	}
	return out
}

// source reads the objects that a pod's environment refers to.
type source struct {
	agent *Agent
	pod   *corev1.Pod
}

func (s source) ConfigMap(ctx context.Context, name string) (*corev1.ConfigMap, error) {
	o, err := s.agent.objects.Get(ctx, s.ref(follow.ConfigMap, name), s.pod.UID)
	if err != nil {
		return nil, err
	}
	return o.(*corev1.ConfigMap), nil //nolint:forcetypeassert // what the kind says
}

func (s source) Secret(ctx context.Context, name string) (*corev1.Secret, error) {
	o, err := s.agent.objects.Get(ctx, s.ref(follow.Secret, name), s.pod.UID)
	if err != nil {
		return nil, err
	}
	return o.(*corev1.Secret), nil //nolint:forcetypeassert // what the kind says
}

// maxEnvFile is how large a file with variables is at most (KEP-3721).
const maxEnvFile = 64 << 10

// File implements env.Source. The pod writes there as it likes: no link leads
// out of the volume.
func (s source) File(volume, path string) ([]byte, error) {
	root, err := os.OpenRoot(s.agent.volumes.Path(s.pod.UID, volume))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe does not hold us up
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() || info.Size() > maxEnvFile {
		return nil, fmt.Errorf("it is no file of at most %d bytes", maxEnvFile)
	}
	return io.ReadAll(io.LimitReader(file, maxEnvFile))
}

func (s source) ref(kind follow.Kind, name string) follow.Ref {
	return follow.Ref{Kind: kind, NamespacedName: types.NamespacedName{Namespace: s.pod.Namespace, Name: name}}
}
