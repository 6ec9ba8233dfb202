package node

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/nodeagent/eviction"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Network is the pod network as far as it depends on nodes. Calls come one at
// a time; those with the same arguments again change nothing.
type Network interface {
	Start(ctx context.Context, cidrs []netip.Prefix) error
	Ready() bool
	SetRoute(node string, to netip.Prefix, via netip.Addr) error
	DeleteRoute(node string) error
}

// Heartbeat tells the servers that the node is alive. Run keeps a stream to one
// of them, with a beat each second, until ctx ends, and goes to another server
// by itself when one is lost.
type Heartbeat interface {
	Run(ctx context.Context, node string) error
	// Heard returns when a server hears the node, or ctx ends.
	Heard(ctx context.Context) error
}

// Images lists what images are present.
type Images interface {
	ListImages(ctx context.Context) ([]runtime.Image, error)
}

// Config is what a Node is made of.
type Config struct {
	Name string
	// Addresses of the node: the first is its InternalIP.
	Addresses []netip.Addr
	// External are those by which it is reached from outside, as behind a router.
	External []netip.Addr
	// Labels are set beside the well-known ones at registration; Taints too.
	Labels map[string]string
	Taints []corev1.Taint
	// Port is where the agent serves logs and exec.
	Port int32
	// Reserved is kept back from pods, and so is what the hard ones of the
	// Thresholds want to stay free; MaxPods is how many pods there may be.
	// Default: 110.
	Reserved   corev1.ResourceList
	Thresholds []eviction.Threshold
	// PeersFile keeps where the other nodes serve, for a start without a server;
	// empty: that is not kept.
	PeersFile string
	// Closing tells whether the machine goes down; nil: it never does.
	Closing func() bool
	// Conditions gives those of memory, disk and process numbers that hold; nil:
	// none ever does.
	Conditions func() map[corev1.NodeConditionType]bool
	MaxPods    int64
	// DataDir is where the disk is watched.
	DataDir string
	// PodCIDRs override what the control plane gives; may be empty.
	PodCIDRs []netip.Prefix
	// RuntimeHandlers are those beside the default.
	RuntimeHandlers []string
	// RuntimeVersion such as containerd://1.6.20, and the agent's own.
	RuntimeVersion, Version string

	Client    client.WithWatch
	Network   Network
	Images    Images
	Heartbeat Heartbeat // nil: none
	// Recorder takes events about the node; nil: none are told.
	Recorder record.EventRecorder
	Clock    clock.WithTicker
	Logger   *slog.Logger
	// Pressure is how often the machine is looked at.
	// Default: 10 s.
	Pressure time.Duration
	// Machine reads the machine. Default: ReadMachine.
	Machine func(dataDir string) (Machine, error)
}

func (c *Config) complete() {
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Pressure == 0 {
		c.Pressure = 10 * time.Second
	}
	if c.Machine == nil {
		c.Machine = ReadMachine
	}
}
