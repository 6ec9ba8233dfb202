package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/nodeagent"
	"github.com/headway-sh/headway/nodeagent/cgroup"
	"github.com/headway-sh/headway/nodeagent/containerdproc"
	"github.com/headway-sh/headway/nodeagent/eviction"
	"github.com/headway-sh/headway/nodeagent/logkeeper"
	"github.com/headway-sh/headway/nodeagent/network"
	"github.com/headway-sh/headway/nodeagent/node"
	"github.com/headway-sh/headway/nodeagent/policy"
	"github.com/headway-sh/headway/nodeagent/pulls"
	"github.com/headway-sh/headway/nodeagent/registry"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
	"github.com/headway-sh/headway/nodeagent/serve"
)

// nodeOptions are what a node agent differs by, in the server's process or in
// its own.
type nodeOptions struct {
	name    string
	dataDir string
	// addresses of the machine, the first is the node's InternalIP.
	addresses []netip.Addr
	// runtimeEndpoint is a running containerd's socket; empty: an own one.
	runtimeEndpoint string
	podCIDRs        []netip.Prefix // of the whole cluster
	clusterDNS      netip.Addr
	clusterDomain   string
	proxy           bool
	// cgroup is the control group below which everything runs.
	cgroup string
	flags  nodeFlags

	client    client.WithWatch
	cache     cache.Cache
	heartbeat node.Heartbeat
	// serving is the agent's own certificate, clients the authority of who may
	// ask it.
	serving func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	clients *x509.CertPool
	// peers is how other nodes are asked for images; nil: not at all.
	peers *tls.Config
	log   *slog.Logger
}

// nodeDirs are the places below a node's data directory.
type nodeDirs struct{ data string }

func (d nodeDirs) agent() string      { return filepath.Join(d.data, "agent") }
func (d nodeDirs) run() string        { return filepath.Join(d.data, "run") }
func (d nodeDirs) logkeeper() string  { return filepath.Join(d.data, "run", "logkeeper") }
func (d nodeDirs) containerd() string { return filepath.Join(d.data, "containerd") }
func (d nodeDirs) network() string    { return filepath.Join(d.data, "network") }

// nodeProcess is a node agent under construction.
type nodeProcess struct {
	nodeOptions
	dirs nodeDirs
}

// defaultCgroup is below which a machine's one agent runs everything.
const defaultCgroup = "headway"

// runtimeCgroup is where containerd, its shims and the log keeper live.
func runtimeCgroup(parent string) string { return "/" + parent + "/runtime" }

// newContainerd is the node's own containerd.
func newContainerd(dirs nodeDirs, cgroup string, log *slog.Logger) (*containerdproc.Process, error) {
	return containerdproc.New(containerdproc.Config{Dir: dirs.containerd(), RunDir: filepath.Join(dirs.run(), "containerd"), Cgroup: runtimeCgroup(cgroup), Log: log})
}

// run starts what the agent stands on and runs it until ctx ends. Containers,
// their shims, containerd and the log keeper go on without it.
func (n *nodeProcess) run(ctx context.Context) error {
	keeper, err := n.logKeeper()
	if err != nil {
		return err
	}
	parts := []component{}
	address := n.runtimeEndpoint
	if address == "" {
		process, err := newContainerd(n.dirs, n.cgroup, n.log)
		if err != nil {
			return fmt.Errorf("containerd: %w", err)
		}
		if err := process.Start(ctx); err != nil {
			return fmt.Errorf("start containerd: %w", err)
		}
		parts = append(parts, component{"containerd", process.Run})
		address = process.Socket()
	}
	if err := keeper.Start(ctx); err != nil {
		return fmt.Errorf("start the log keeper: %w", err)
	}
	parts = append(parts, component{"log keeper", keeper.Run})
	handlers, err := n.flags.pods.runtimeHandlers()
	if err != nil {
		return err
	}
	images := n.newImages()
	runtime, err := containerd.New(containerd.Config{Address: address, Registries: images, Peers: images.peers(), Handlers: handlers, RunDir: n.dirs.run(), Keeper: logkeeper.NewClient(logkeeper.Socket(n.dirs.logkeeper())), Log: n.log})
	if err != nil {
		return err
	}
	defer runtime.Close()
	parts = append(parts, component{"runtime", runtime.Run})
	rest, labels, err := n.agent(ctx, runtime, images)
	if err != nil {
		return err
	}
	parts = append(parts, rest...)
	if n.proxy {
		proxy, err := n.serviceProxy(labels)
		if err != nil {
			return err
		}
		parts = append(parts, proxy...)
	}
	return runAll(ctx, n.log, parts)
}

type daemon interface {
	Start(context.Context) error
	Run(context.Context) error
	Stop(context.Context) error
}

func (n *nodeProcess) logKeeper() (daemon, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own program: %w", err)
	}
	return logkeeper.NewProcess(logkeeper.ProcessConfig{Dir: n.dirs.logkeeper(), Command: []string{self, "logkeeper"}, Cgroup: runtimeCgroup(n.cgroup), Log: n.log}), nil
}

// agent makes the Node's keeper, the pods' agent and its server, and tells where
// the Node's labels are to be had.
func (n *nodeProcess) agent(ctx context.Context, runtime *containerd.Runtime, images *nodeImages) (parts []component, labels func() map[string]string, err error) {
	pods, err := n.podNetwork()
	if err != nil {
		return nil, nil, err
	}
	groups, err := cgroup.New(cgroup.Config{Parent: n.cgroup, PidsLimit: n.flags.pods.pids()})
	if err != nil {
		return nil, nil, err
	}
	// The port that tools expect, or any other where it is taken: the Node says which.
	listener, err := net.Listen("tcp", net.JoinHostPort(n.addresses[0].String(), "10250"))
	if err != nil {
		listener, err = net.Listen("tcp", net.JoinHostPort(n.addresses[0].String(), "0"))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("listen for the agent: %w", err)
	}
	runtimeVersion, err := runtime.Version(ctx)
	if err != nil {
		return nil, nil, err
	}
	policies, err := n.policies()
	if err != nil {
		return nil, nil, err
	}
	recorder, held := nodeagent.NewRecorder(ctx, n.client, n.name, n.log), &eviction.Conditions{}
	closing := &closingAgent{}
	self, err := node.New(node.Config{
		Name: n.name, Addresses: n.addresses, External: n.flags.external, Port: int32(listener.Addr().(*net.TCPAddr).Port), DataDir: n.dataDir, Reserved: n.flags.reserved, Thresholds: n.flags.thresholds, MaxPods: n.flags.maxPods, Conditions: held.Held, Closing: closing.held, PeersFile: filepath.Join(n.dirs.agent(), "peers.json"),
		RuntimeVersion: "containerd://" + runtimeVersion, Version: version(), RuntimeHandlers: n.flags.pods.handlerNames(), Client: n.client, Network: pods, Images: runtime, Heartbeat: n.heartbeat, Recorder: recorder, Clock: clock.RealClock{}, Logger: n.log,
	})
	if err != nil {
		return nil, nil, err
	}
	images.node.Store(self)
	records, err := pulls.Open(filepath.Join(n.dirs.agent(), "pulls.json"))
	if err != nil {
		return nil, nil, err
	}
	agent, err := nodeagent.New(nodeagent.Config{
		NodeName: n.name, DataDir: n.dirs.agent(), Client: n.client, Runtime: runtime, Network: pods, Policies: policies, Cgroups: groups,
		Recorder: recorder, HostIPs: n.addresses,
		ClusterDNS: []netip.Addr{n.clusterDNS}, ClusterDomain: n.clusterDomain, Allocatable: self.Allocatable, NodeLabels: self.NodeLabels, Pressure: held.Held,
		Pulls: records, ParallelPulls: n.flags.parallelPulls,
		Static:          staticPods(n.flags.manifests, n.name, recorder, n.log),
		RuntimeHandlers: n.flags.pods.handlerNames(), UnsafeSysctls: n.flags.pods.unsafeSysctls,
		Clock: clock.RealClock{}, Logger: n.log,
	})
	if err != nil {
		return nil, nil, err
	}
	closing.agent.Store(agent)
	server, err := serve.New(serve.Config{
		Listener: listener, NodeName: n.name, Pods: agent, Runtime: runtime, Groups: groups, Dial: network.Dial, Authorizer: whoMayAsk{self.Knows}, Images: &registry.Server{Store: &containerd.Served{Runtime: runtime, Public: records.Public}, Logger: n.log}, Logger: n.log,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: n.serving, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: n.clients},
	})
	if err != nil {
		return nil, nil, err
	}
	upkeep, err := n.upkeep(&pressure{Agent: agent, self: self, recorder: recorder}, runtime, held)
	if err != nil {
		return nil, nil, err
	}
	return append([]component{{"node", self.Run}, {"agent server", server.Run}, {"network policies", policies.Run}, {"pods", agent.Run}}, append(upkeep, component{"going down", (&goingDown{agent: agent, changed: self.Changed, periods: n.flags.shutdown, socket: n.dirs.controlSocket(), machine: machineStops, log: n.log}).run})...), self.NodeLabels, nil
}

// policies makes the keeper of network policies.
func (n *nodeProcess) policies() (*policy.Enforcer, error) {
	kernels := make([]policy.Kernel, 0, 2)
	for _, ipv6 := range []bool{false, true} {
		if slices.ContainsFunc(n.podCIDRs, func(p netip.Prefix) bool { return p.Addr().Is6() == ipv6 }) {
			kernels = append(kernels, policy.IPTables{IPv6: ipv6})
		}
	}
	return policy.New(policy.Config{Client: n.client, Bridge: network.DefaultBridge, Kernels: kernels,
		File: filepath.Join(n.dirs.network(), "policies.json"), Clock: clock.RealClock{}, Logger: n.log})
}

// localNode is the agent in the server's own process: the same agent, with its
// API in process under the node's own identity.
func (s *server) localNode() (*nodeProcess, error) {
	identity := nodeIdentity(s.options.nodeName)
	peer := s.api.Peer(identity)
	certificate, err := s.api.Authorities().NodeCertificate(s.options.nodeName, s.address)
	if err != nil {
		return nil, err
	}
	return &nodeProcess{dirs: nodeDirs{s.options.dataDir}, nodeOptions: nodeOptions{
		name: s.options.nodeName, dataDir: s.options.dataDir, addresses: []netip.Addr{s.address}, runtimeEndpoint: s.options.runtimeEndpoint, cgroup: s.options.cgroup, flags: s.options.node,
		podCIDRs: s.podCIDRs, clusterDNS: s.api.DNSAddress(), clusterDomain: s.api.ClusterDomain(), proxy: s.options.enabled("proxy"),
		client: peer.LocalClient(), cache: peer.Cache(), heartbeat: s.beats, serving: certificate.Server, clients: s.api.Authorities().Client.Pool(), peers: s.api.Authorities().BetweenNodes(s.options.nodeName), log: s.log,
	}}, nil
}

func nodeIdentity(name string) txn.Identity {
	return txn.Identity{Name: "system:node:" + name, Groups: []string{"system:nodes", "system:authenticated"}}
}
