package containerd

import (
	"path/filepath"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// mounts are those that every container has, then the pod's own. One of the
// pod's replaces the default at the same place.
func mounts(in specInput) []specs.Mount {
	access := "ro"
	if in.config.Privileged {
		access = "rw"
	}
	shm := filepath.Join(in.podDir, "shm")
	if in.sandbox.HostIPC {
		shm = "/dev/shm"
	}
	defaults := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
		{Destination: "/dev/shm", Type: "bind", Source: shm, Options: []string{"rbind", "rprivate", "nosuid", "noexec", "nodev", "rw"}},
	}
	if !in.sandbox.HostNetwork {
		defaults = append(defaults, specs.Mount{
			Destination: "/etc/hostname", Type: "bind", Source: filepath.Join(in.podDir, "hostname"), Options: []string{"rbind", "rprivate", "ro"},
		})
	}
	kept := slices.DeleteFunc(defaults, func(d specs.Mount) bool {
		return slices.ContainsFunc(in.config.Mounts, func(own specs.Mount) bool {
			return filepath.Clean(own.Destination) == d.Destination
		})
	})
	return slices.Concat(kept, in.config.Mounts)
}

// propagation of the root must let through what the mounts' own propagation wants.
func propagation(mounts []specs.Mount) string {
	want := ""
	for _, m := range mounts {
		switch {
		case slices.Contains(m.Options, "rshared") || slices.Contains(m.Options, "shared"):
			return "rshared"
		case slices.Contains(m.Options, "rslave") || slices.Contains(m.Options, "slave"):
			want = "rslave"
		}
	}
	return want
}
