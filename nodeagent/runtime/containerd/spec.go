package containerd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/oci"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// groupAnnotation makes runc's shim serve all containers of the group.
const groupAnnotation = "io.containerd.runc.v2.group"

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// defaultCapabilities are what a container gets that asks for nothing.
var defaultCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

var defaultMaskedPaths = []string{
	"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
}

var defaultReadonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// specInput is everything a container's specification follows from.
type specInput struct {
	id      string
	config  runtime.ContainerConfig
	image   ocispec.ImageConfig
	user    specs.User
	sandbox runtime.SandboxConfig
	podDir  string
	// target is the process whose pid namespace the container joins; 0: none.
	target int
	host   hostFacts
}

// buildSpec is the OCI runtime specification of a container.
func buildSpec(ctx context.Context, in specInput) (*specs.Spec, error) {
	args, err := arguments(in.config, in.image)
	if err != nil {
		return nil, err
	}
	capabilities, err := capabilities(in.config, in.host)
	if err != nil {
		return nil, err
	}
	score := in.host.oomScore(in.config.OOMScoreAdj)
	spec := &specs.Spec{
		Version: "1.0.2", // what runc 1.0 and newer read
		Root:    &specs.Root{Path: "rootfs", Readonly: in.config.ReadonlyRootfs},
		Process: &specs.Process{
			Args: args, Env: environment(in), Cwd: workingDir(in.config, in.image),
			Terminal: in.config.TTY, User: in.user, OOMScoreAdj: &score,
			NoNewPrivileges: in.config.NoNewPrivileges,
			Capabilities: &specs.LinuxCapabilities{
				Bounding: capabilities, Permitted: capabilities, Effective: capabilities,
			},
		},
		Mounts: mounts(in),
		Linux: &specs.Linux{
			CgroupsPath: cgroupPath(in.sandbox, in.id),
			Namespaces:  linuxNamespaces(in),
			Resources:   resources(in.config.Resources),
			MaskedPaths: orDefault(in.config.MaskedPaths, defaultMaskedPaths), ReadonlyPaths: orDefault(in.config.ReadonlyPs, defaultReadonlyPaths),
			RootfsPropagation: propagation(in.config.Mounts),
		},
		Annotations: map[string]string{groupAnnotation: in.config.PodUID},
	}
	spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	if in.host.cgroup2 {
		// Out of memory ends all of a container and not one process of it, and
		// a container does not swap: both as Kubernetes has it by default.
		spec.Linux.Resources.Unified = map[string]string{"memory.oom.group": "1", "memory.swap.max": "0"}
	}
	if in.config.AppArmorProfile != "" && !in.host.appArmor {
		return nil, fmt.Errorf("AppArmor profile %q cannot be enforced: the node's kernel has AppArmor off", in.config.AppArmorProfile)
	}
	spec.Process.ApparmorProfile = in.config.AppArmorProfile
	return spec, confine(ctx, in, spec)
}

// confine adds the seccomp filter, or for a privileged container takes away
// what confines it.
func confine(ctx context.Context, in specInput, spec *specs.Spec) error {
	if in.config.Privileged {
		spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil
		spec.Process.ApparmorProfile = ""
		for _, opt := range []oci.SpecOpts{oci.WithHostDevices, oci.WithAllDevicesAllowed} {
			if err := opt(ctx, nil, nil, spec); err != nil {
				return fmt.Errorf("give host devices: %w", err)
			}
		}
		return nil
	}
	switch {
	case !in.host.seccomp:
	case in.config.Seccomp == nil:
		spec.Linux.Seccomp = defaultSeccomp(spec)
	case in.config.Seccomp.DefaultAction == specs.ActAllow && len(in.config.Seccomp.Syscalls) == 0:
		// Unconfined: no filter costs less than one that allows everything.
	default:
		spec.Linux.Seccomp = in.config.Seccomp
	}
	return nil
}

// defaultSeccomp is containerd's profile without the x32 architecture, which
// no distribution builds for: runc compiles the filter anew for every start,
// once for each architecture. What is not listed is refused.
func defaultSeccomp(spec *specs.Spec) *specs.LinuxSeccomp {
	profile := seccomp.DefaultProfile(spec)
	profile.Architectures = slices.DeleteFunc(profile.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	return profile
}

func orDefault(paths, defaults []string) []string {
	if paths == nil {
		return defaults
	}
	return paths
}

// arguments follow Kubernetes' table: command replaces the entrypoint and then
// the image's CMD is not used; args replace CMD.
func arguments(c runtime.ContainerConfig, image ocispec.ImageConfig) ([]string, error) {
	command, args := c.Command, c.Args
	if len(command) == 0 {
		command = image.Entrypoint
		if len(args) == 0 {
			args = image.Cmd
		}
	}
	argv := slices.Concat(command, args)
	if len(argv) == 0 {
		return nil, errors.New("no command: neither the container nor the image says what to run")
	}
	return argv, nil
}

func workingDir(c runtime.ContainerConfig, image ocispec.ImageConfig) string {
	dir := c.WorkingDir
	if dir == "" {
		dir = image.WorkingDir
	}
	return filepath.Join("/", dir) // the OCI specification wants an absolute path
}

func environment(in specInput) []string {
	env := []string{defaultPath, "HOSTNAME=" + in.sandbox.Hostname}
	if in.config.TTY {
		env = append(env, "TERM=xterm")
	}
	at := map[string]int{}
	for i, pair := range env {
		key, _, _ := strings.Cut(pair, "=")
		at[key] = i
	}
	for _, pair := range slices.Concat(in.image.Env, in.config.Env) {
		key, _, _ := strings.Cut(pair, "=")
		if i, ok := at[key]; ok {
			env[i] = pair
			continue
		}
		at[key] = len(env)
		env = append(env, pair)
	}
	return env
}

// capabilities are the default set with what is added and dropped, "ALL"
// first. Only what this process has itself can be given.
func capabilities(c runtime.ContainerConfig, host hostFacts) ([]string, error) {
	if c.Privileged {
		return host.capabilities, nil
	}
	set := defaultCapabilities
	if slices.Contains(names(c.CapDrop), "CAP_ALL") {
		set = nil
	}
	if slices.Contains(names(c.CapAdd), "CAP_ALL") {
		set = host.capabilities
	}
	set = slices.Clone(set)
	for _, name := range names(c.CapAdd) {
		if name == "CAP_ALL" || slices.Contains(set, name) {
			continue
		}
		if !slices.Contains(host.capabilities, name) {
			return nil, fmt.Errorf("capability %s cannot be added: the node does not have it", name)
		}
		set = append(set, name)
	}
	drop := names(c.CapDrop)
	return slices.DeleteFunc(set, func(name string) bool {
		return slices.Contains(drop, name) || !slices.Contains(host.capabilities, name)
	}), nil
}

func names(capabilities []string) []string {
	out := make([]string, 0, len(capabilities))
	for _, name := range capabilities {
		name = strings.ToUpper(name)
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		out = append(out, name)
	}
	return out
}

// cgroupPath is the container's cgroup: below the pod's, named by its ID.
func cgroupPath(s runtime.SandboxConfig, id string) string {
	parent := s.CgroupParent
	if parent == "" {
		parent = "/headway/pod" + s.PodUID
	}
	return filepath.Join("/", parent, id)
}

func linuxNamespaces(in specInput) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	switch {
	case in.target != 0 && !in.sandbox.HostPID:
		list = append(list, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", in.target)})
	case sharesPID(in.sandbox):
		list = append(list, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: filepath.Join(in.podDir, "pid")})
	case !in.sandbox.HostPID:
		list = append(list, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	p := pinsOf(in.sandbox)
	for _, n := range []struct {
		on   bool
		kind specs.LinuxNamespaceType
		name string
	}{{p.net, specs.NetworkNamespace, "net"}, {p.ipc, specs.IPCNamespace, "ipc"}, {p.uts, specs.UTSNamespace, "uts"}} {
		if n.on {
			list = append(list, specs.LinuxNamespace{Type: n.kind, Path: filepath.Join(in.podDir, n.name)})
		}
	}
	if in.host.cgroup2 && !in.config.Privileged {
		list = append(list, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return list
}

func resources(r runtime.Resources) *specs.LinuxResources {
	out := &specs.LinuxResources{}
	if r.CPUShares > 0 || r.CPUQuota != 0 || r.CPUPeriod > 0 || r.CpusetCPUs != "" {
		out.CPU = &specs.LinuxCPU{Cpus: r.CpusetCPUs}
		if r.CPUShares > 0 {
			shares := uint64(r.CPUShares)
			out.CPU.Shares = &shares
		}
		if r.CPUQuota != 0 {
			out.CPU.Quota = &r.CPUQuota
		}
		if r.CPUPeriod > 0 {
			period := uint64(r.CPUPeriod)
			out.CPU.Period = &period
		}
	}
	if r.MemoryLimit != 0 {
		out.Memory = &specs.LinuxMemory{Limit: &r.MemoryLimit}
	}
	if r.PidsLimit > 0 {
		out.Pids = &specs.LinuxPids{Limit: &r.PidsLimit}
	}
	for _, size := range slices.Sorted(maps.Keys(r.HugePages)) {
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: size, Limit: uint64(r.HugePages[size])})
	}
	return out
}
