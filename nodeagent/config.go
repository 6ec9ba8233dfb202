package nodeagent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/nodeagent/pulls"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Config is what an agent is made of.
type Config struct {
	// NodeName is the name of the Node that this agent is.
	NodeName string
	// HostName is the Node's label kubernetes.io/hostname. Default: NodeName.
	HostName string
	// DataDir holds the agent's pods, checkpoints and logs.
	DataDir string
	// Client reaches the API as system:node:<NodeName>.
	Client client.WithWatch
	// Runtime runs the containers; RuntimeName is what container identifiers
	// in the API begin with. Default: containerd.
	Runtime     runtime.Interface
	RuntimeName string
	// Network connects pods, Cgroups holds their limits.
	Network Network
	Cgroups Cgroups
	// Policies hold pods to the network policies; nil: nobody does.
	Policies Policies
	// Recorder takes events; see NewRecorder.
	Recorder record.EventRecorder
	// HostIPs are the node's addresses, the first of its main family first.
	HostIPs []netip.Addr
	// ClusterDNS and ClusterDomain go into pods' resolv.conf. Default domain:
	// cluster.local.
	ClusterDNS    []netip.Addr
	ClusterDomain string
	// ResolvConf is the node's own file. Default: /etc/resolv.conf.
	ResolvConf string
	// Allocatable is what pods may ask for in sum; nil admits everything.
	Allocatable func() corev1.ResourceList
	// Pulls remembers by whose right images are here; nil: every pod may use
	// every image that is.
	Pulls *pulls.Records
	// ParallelPulls is how many images are pulled at once. Default: 5.
	ParallelPulls int
	// Static are the pods of the node's own files; nil: there are none.
	Static StaticPods
	// Pressure are the conditions of the Node that keep new pods away; nil: none
	// ever does.
	Pressure func() map[corev1.NodeConditionType]bool
	// NodeLabels are the Node's, for admission; nil admits everything.
	NodeLabels func() map[string]string
	// RuntimeHandlers are the handlers that the runtime has beside its default.
	RuntimeHandlers []string
	// UnsafeSysctls are patterns of kernel parameters that pods may set beside
	// the safe ones; see plan.UnsafeSysctl.
	UnsafeSysctls []string

	Clock  clock.WithTicker
	Logger *slog.Logger
}

// Network is the pods' network. Implementations are idempotent and safe for
// concurrent use.
type Network interface {
	// Attach gives a pod's network namespace its links, addresses and routes,
	// and opens its host ports. After a restart it finds what is there.
	Attach(ctx context.Context, pod *corev1.Pod, netns string) ([]netip.Addr, error)
	// Detach frees what Attach made; an unknown pod is success.
	Detach(ctx context.Context, uid types.UID) error
	// Leased are the addresses that pods have since before this agent began.
	Leased() (map[types.UID][]netip.Addr, error)
	// Sweep frees what an earlier agent has made for pods that are not held and
	// that this one has not attached.
	Sweep(ctx context.Context, held func(types.UID) bool) error
}

// Policies are the cluster's network policies. Implementations are idempotent
// and safe for concurrent use.
type Policies interface {
	// Adopt is called once, before all else, with the pods of the agent before
	// this one and the addresses that they have.
	Adopt(pods []*corev1.Pod, addresses map[types.UID][]netip.Addr)
	// Isolate returns when the policies are in force for the pod's addresses.
	Isolate(ctx context.Context, pod *corev1.Pod, addresses []netip.Addr) error
	// Update tells of a pod's newer state; it does not block for long.
	Update(pod *corev1.Pod)
	// Release forgets a pod whose containers have ended.
	Release(uid types.UID)
}

// Cgroups are the pods' control groups. Implementations are idempotent and
// safe for concurrent use.
type Cgroups interface {
	// Ensure makes the pod's cgroup with its limits and gives its path below
	// the hierarchies' roots.
	Ensure(pod *corev1.Pod) (path string, err error)
	// Resize widens the pod's limits to what holds both states of the pod.
	Resize(before, after *corev1.Pod) error
	// PodUsage reads what a pod uses as a whole; what cannot be read is 0.
	PodUsage(pod *corev1.Pod) runtime.Stats
	// Remove removes it; an unknown pod is success.
	Remove(uid types.UID) error
}

func (c *Config) complete() error {
	switch {
	case c.NodeName == "":
		return errors.New("node agent: no node name")
	case c.DataDir == "":
		return errors.New("node agent: no data directory")
	case c.Client == nil, c.Runtime == nil, c.Network == nil, c.Cgroups == nil, c.Recorder == nil:
		return errors.New("node agent: client, runtime, network, cgroups and recorder are needed")
	}
	if c.HostName == "" {
		c.HostName = c.NodeName
	}
	if c.RuntimeName == "" {
		c.RuntimeName = "containerd"
	}
	if c.ClusterDomain == "" {
		c.ClusterDomain = "cluster.local"
	}
	if c.ParallelPulls == 0 {
		c.ParallelPulls = 5
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// PodsDir holds a directory for each pod, LogsDir one for each pod's logs.
func (c *Config) PodsDir() string { return filepath.Join(c.DataDir, "pods") }

// LogsDir is where containers' logs are, in a directory for each pod.
func (c *Config) LogsDir() string { return filepath.Join(c.DataDir, "logs") }

// VolumesDir holds a directory for each persistent volume of this node.
func (c *Config) VolumesDir() string { return filepath.Join(c.DataDir, "volumes") }

// SeccompDir is where the seccomp profiles are that pods name as localhost
// profiles.
func (c *Config) SeccompDir() string { return filepath.Join(c.DataDir, "seccomp") }

// LogDir is the directory of one pod's logs.
func (c *Config) LogDir(pod *corev1.Pod) string {
	return filepath.Join(c.LogsDir(), pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}
