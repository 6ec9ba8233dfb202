// Package runtime is what the node agent asks of a container runtime. It is
// sandbox-shaped because CRI runtimes are; the containerd implementation keeps
// a sandbox as pinned namespaces without a pause process.
//
// Legal order of calls for one pod:
//
//	StartSandbox ──▶ Create ──▶ Start ──▶ (exit event) ──▶ Remove ──▶ StopSandbox ──▶ RemoveSandbox
//	                   ▲          │                           │
//	                   └──────────┴── again on restart ◀──────┘
//
// All calls are idempotent: what is already so is success, and a thing that is
// not there is removed successfully. Calls for one pod are serialised by the
// caller except Exec, Attach, Events and reads.
package runtime

import (
	"context"
	"io"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Interface is a container runtime with its images. Implementations are safe
// for concurrent use.
type Interface interface {
	// StartSandbox makes (or finds) the pod's namespaces, cgroup and network
	// namespace path. The caller puts addresses into the network namespace.
	StartSandbox(ctx context.Context, config SandboxConfig) (Sandbox, error)
	// StopSandbox ends all of the pod's containers at once and frees the
	// namespaces; RemoveSandbox then forgets the pod.
	StopSandbox(ctx context.Context, podUID string) error
	RemoveSandbox(ctx context.Context, podUID string) error

	// MountImage mounts what a present image holds for a pod, read-only, and
	// gives its path. name tells apart what one pod has.
	// It stays until the pod's sandbox is stopped.
	MountImage(ctx context.Context, podUID, name, image string) (path string, err error)

	// Create makes a container from an image that is present. Start runs it.
	Create(ctx context.Context, config ContainerConfig) (id string, err error)
	Start(ctx context.Context, id string) error
	// Signal sends a signal to the container's first process; a container that
	// is not running is success.
	Signal(ctx context.Context, id string, signal int) error
	// Remove kills the container if it runs and removes it with its snapshot.
	// The log stays: it belongs to the pod's log directory.
	Remove(ctx context.Context, id string) error
	// User is who a container's first process is at its beginning; nil if that
	// is not known.
	User(ctx context.Context, id string) (*User, error)
	// Update changes the resources of a running container.
	Update(ctx context.Context, id string, resources Resources) error

	// List gives every sandbox and container of this node, running or not,
	// with exit codes and times: the truth after an agent restart.
	List(ctx context.Context) ([]Sandbox, []Container, error)
	// Events sends one event for each start, exit and OOM kill until ctx ends.
	// When an exit is told, List has it; after it EventLogged tells that the
	// container's log is complete.
	// After a lost connection to the runtime it sends a Resync event: call List.
	Events(ctx context.Context) <-chan Event

	// Exec runs a further process in a container until it ends and returns its
	// exit code.
	Exec(ctx context.Context, id string, config ExecConfig) (exitCode int, err error)
	// Attach connects to the running first process.
	Attach(ctx context.Context, id string, streams Streams) error
	// Stats reads what the container's control group uses.
	Stats(ctx context.Context, id string) (Stats, error)
	// DiskUsage walks what the container has written to its root; a large one
	// takes its time.
	DiskUsage(ctx context.Context, id string) (DiskUsage, error)

	Images
}

// Images are the runtime's images.
type Images interface {
	// Pull fetches an image by reference, from wherever it is to be had: success,
	// or an error that says what is wrong with the reference, the registry or the
	// credentials. Credentials for the image's registry are tried in turn; nil
	// asks as nobody.
	Pull(ctx context.Context, ref string, credentials []Credentials) (Pulled, error)
	// Image finds a present image by reference or digest; ErrImageNotFound.
	Image(ctx context.Context, ref string) (Image, error)
	ListImages(ctx context.Context) ([]Image, error)
	// Import reads an OCI layout or docker archive (plain or gzip tar).
	Import(ctx context.Context, archive io.Reader) ([]Image, error)
	RemoveImage(ctx context.Context, ref string) error
}

// SandboxConfig describes a pod to the runtime.
type SandboxConfig struct {
	PodUID, PodName, PodNamespace string
	Hostname                      string
	HostNetwork, HostPID, HostIPC bool
	// ShareProcessNamespace puts all containers into one pid namespace.
	ShareProcessNamespace bool
	// CgroupParent is the pod's cgroup below the hierarchy's root, such as
	// "/headway/burstable/pod<uid>"; the caller has set its limits.
	CgroupParent string
	// Handler names one of the runtime's configured handlers (RuntimeClass);
	// empty is the default.
	Handler string
	Sysctls map[string]string
	Labels  map[string]string
}

// Sandbox is a pod as the runtime knows it.
type Sandbox struct {
	PodUID, PodName, PodNamespace string
	// NetNS is the path of the pinned network namespace; empty with host network.
	NetNS   string
	Ready   bool
	Created time.Time
	Labels  map[string]string
}

// ContainerConfig describes one container to the runtime.
type ContainerConfig struct {
	PodUID string
	// Name is the container's name in the pod; Attempt counts its restarts.
	// Create finds a container again by pod, name and attempt.
	Name    string
	Attempt int
	// Target is the ID of a running container whose processes this one shall
	// see (ephemeral containers); empty: none.
	Target string
	// Image is the digest or reference of a present image.
	Image string
	// Command and Args replace the image's ENTRYPOINT and CMD as in a Pod.
	Command, Args []string
	WorkingDir    string
	// Env are KEY=VALUE on top of the image's.
	Env    []string
	Mounts []specs.Mount
	// LogPath is the file that the log keeper writes in CRI format.
	LogPath               string
	Stdin, StdinOnce, TTY bool
	Privileged            bool
	ReadonlyRootfs        bool
	NoNewPrivileges       bool
	RunAsUser, RunAsGroup *int64
	RunAsUserName         string
	SupplementalGroups    []int64
	// StrictGroups leaves out the groups that the image's files give the user.
	StrictGroups    bool
	CapAdd, CapDrop []string
	// MaskedPaths and ReadonlyPs are the runtime's defaults when nil, and none
	// when empty but not nil (procMount: Unmasked).
	MaskedPaths, ReadonlyPs []string
	// Seccomp is the runtime's default profile when nil (RuntimeDefault). A
	// profile that only says "allow" is no filter at all (Unconfined).
	Seccomp         *specs.LinuxSeccomp
	AppArmorProfile string
	Resources       Resources
	OOMScoreAdj     int
	Labels          map[string]string
}

// Resources are cgroup limits; zero values set nothing.
type Resources struct {
	CPUShares, CPUQuota, CPUPeriod int64
	// MemoryLimit in bytes.
	MemoryLimit int64
	PidsLimit   int64
	CpusetCPUs  string
	// HugePages are limits in bytes by page size as the kernel writes it, such
	// as "2MB".
	HugePages map[string]int64
}

// State is where a container is in its life.
type State string

const (
	// StateCreated says it has not been started.
	StateCreated State = "created"
	// StateRunning says its first process runs.
	StateRunning State = "running"
	// StateExited says its first process has ended.
	StateExited State = "exited"
)

// Container is a container as the runtime knows it.
type Container struct {
	ID, PodUID, Name string
	Attempt          int
	ImageRef         string
	ImageID          string
	State            State
	PID              int
	Created          time.Time
	Started          time.Time
	Finished         time.Time
	ExitCode         int
	OOMKilled        bool
	// Reason of a start that did not work, such as "StartError".
	Reason, Message string
	LogPath         string
	User            *User
	Labels          map[string]string
}

// User is a process's user with all of its groups.
type User struct {
	UID, GID int64
	// Groups are all of them, GID among them.
	Groups []int64
}

// EventKind is what an Event tells.
type EventKind string

const (
	// EventStarted, EventExited, EventLogged and EventOOM are about one container.
	EventStarted EventKind = "started"
	EventExited  EventKind = "exited"
	EventLogged  EventKind = "logged"
	EventOOM     EventKind = "oom"
	// EventResync says that events may have been lost: call List.
	EventResync EventKind = "resync"
)

// Event is a change the runtime saw.
type Event struct {
	Kind        EventKind
	ContainerID string
	PodUID      string
	ExitCode    int
	// OOMKilled tells of an exit that the kernel killed it for its memory.
	OOMKilled bool
	Time      time.Time
}

// Streams are the ends of a process; nil ones are not connected.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool
	// Resize gets new terminal sizes; nil without a terminal.
	Resize <-chan TerminalSize
}

// TerminalSize is in characters.
type TerminalSize struct{ Width, Height uint16 }

// ExecConfig is a further process in a container.
type ExecConfig struct {
	Command []string
	Streams
	// Timeout ends the process; 0: none but ctx.
	Timeout time.Duration
}

// Stats is a container's usage at a time.
type Stats struct {
	Time                          time.Time
	CPUUsageNanoseconds           uint64
	MemoryWorkingSet, MemoryUsage uint64
	MemoryRSS                     uint64
	PageFaults, MajorPageFaults   uint64
	Pids                          uint64
}

// DiskUsage is what a container has written to its root.
type DiskUsage struct{ Bytes, Inodes uint64 }

// Image is a present image.
type Image struct {
	// ID is the digest of the image's configuration, "sha256:…".
	ID string
	// References are names, tags and repo digests.
	References []string
	Size       int64
	// Loaded says that it came by Import and not from a registry.
	Loaded bool
	// User is the image's USER; UID its number when it is one.
	User string
	UID  *int64
	// StopSignal, Volumes and Env are the image configuration's.
	StopSignal string
	Env        []string
	Volumes    []string
	Labels     map[string]string
}

// Pulled is an image that was fetched, and by whose right.
type Pulled struct {
	Image
	// Credentials are those of the call that opened the registry; nil: none of
	// them were used.
	Credentials *Credentials
	// Node says that the node's own credentials did.
	Node bool
}

// Credentials for one registry.
type Credentials struct{ Username, Password, IdentityToken string }
