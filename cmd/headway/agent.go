package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/dataformat"
	"github.com/headway-sh/headway/membership"
	"github.com/headway-sh/headway/membership/heartbeat"
	"github.com/headway-sh/headway/membership/join"
)

const (
	// defaultGossipPort is where the machines of a cluster gossip.
	defaultGossipPort = 7946
	// agentFormat is the version of what the agent writes below its data directory.
	agentFormat = 1
)

// agentOptions are the flags of `headway agent`.
type agentOptions struct {
	server, token   string
	dataDir         string
	nodeName        string
	nodeIPs         []string
	runtimeEndpoint string
	cgroup          string
	gossipPort      uint16
	disable         []string
	node            nodeFlags
}

func agentCommand() *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Join this machine to a cluster as a node and run its pods",
		Long: `Join this machine to a cluster as a node and run its pods.

The token is needed once: it names the cluster's authority, so that no other
server is believed, and admits the machine. HEADWAY_TOKEN keeps it out of the
process list.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logger(cmd)
			if err != nil {
				return err
			}
			return runAgent(cmd.Context(), o, log)
		},
	}
	logFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.server, "server", "", "https://HOST:PORT of a server of the cluster")
	f.StringVar(&o.token, "token", "", "join token; not needed once the machine has joined")
	f.StringVar(&o.dataDir, "data-dir", defaultDataDir, "where everything is kept")
	f.StringVar(&o.nodeName, "node-name", "", "name of this machine's node (default: the host name)")
	f.StringSliceVar(&o.nodeIPs, "node-ip", nil, "addresses of the node (default: the one by which it reaches the server)")
	f.StringVar(&o.runtimeEndpoint, "runtime-endpoint", "", "socket of a running containerd (default: an own one)")
	f.StringVar(&o.cgroup, "cgroup", defaultCgroup, "control group below which everything runs; several agents on one machine need one each")
	f.Uint16Var(&o.gossipPort, "gossip-port", defaultGossipPort, "port for gossip among the machines, TCP and UDP")
	f.StringSliceVar(&o.disable, "disable", nil, "components not to run: proxy")
	o.node.flags(f)
	return cmd
}

func (o *agentOptions) complete() error {
	if o.server == "" {
		return errors.New("--server is needed: https://HOST:PORT of a server of the cluster")
	}
	for _, d := range o.disable {
		if d != "proxy" {
			return fmt.Errorf("--disable: there is no component %q (proxy)", d)
		}
	}
	var err error
	if o.nodeName, err = nodeName(o.nodeName); err != nil {
		return err
	}
	if o.dataDir, err = filepath.Abs(o.dataDir); err != nil {
		return err
	}
	return o.node.complete(o.dataDir)
}

// nodeName is the name that was given, or the machine's.
func nodeName(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("read the host name: %w", err)
	}
	return strings.ToLower(host), nil
}

// addresses are the node's: as given, or the one that leads to the server.
func (o *agentOptions) addresses() ([]netip.Addr, error) {
	var all []netip.Addr
	for _, text := range o.nodeIPs {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--node-ip: %w", err)
		}
		all = append(all, a)
	}
	if len(all) > 0 {
		return all, nil
	}
	u, err := url.Parse(o.server)
	if err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	// No packet is sent: connecting a UDP socket asks the kernel for the route.
	conn, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), "9"))
	if err != nil {
		return nil, fmt.Errorf("find the node's address: %w; name it with --node-ip", err)
	}
	defer conn.Close()
	return []netip.Addr{conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()}, nil
}

func runAgent(ctx context.Context, o agentOptions, log *slog.Logger) error {
	if err := o.complete(); err != nil {
		return err
	}
	addresses, err := o.addresses()
	if err != nil {
		return err
	}
	if err := dataformat.Check(o.dataDir, "agent", agentFormat); err != nil {
		return err
	}
	joined, err := join.Join(ctx, join.Config{Dir: filepath.Join(o.dataDir, "identity"), Server: o.server, Token: o.token, Node: o.nodeName, Addresses: addresses,
		Connect: nodeClient, Clock: clock.RealClock{}, Logger: log})
	if err != nil {
		return err
	}
	cluster := joined.Answer()
	gossip, err := membership.New(membership.Config{Name: o.nodeName, Meta: membership.Meta{Node: o.nodeName}, Bind: netip.AddrPortFrom(addresses[0], o.gossipPort),
		Key: cluster.GossipKey, Others: cluster.GossipKeys, Seeds: cluster.Seeds, Logger: log})
	if err != nil {
		return err
	}
	joined.Discover(gossip.Servers)
	joined.Follow(func(now join.Answer) {
		if len(now.GossipKeys) == 0 {
			return // an older server's, whose key never changes
		}
		if err := gossip.SetKeys(now.GossipKeys); err != nil {
			log.Warn("gossip keys not followed", "err", err)
		}
	})
	beats := newBeats(joined, log)
	sendProbes(beats.client, gossip, log)
	node, err := remoteNode(&o, joined, beats, addresses, log)
	if err != nil {
		return err
	}
	return runAll(ctx, log, append(profiles(), ownPages(clock.RealClock{}, log), spareHeap(clock.RealClock{}, agentPercent), component{"identity", joined.Run}, component{"gossip", gossip.Run}, component{"agent", node.run}))
}

// remoteNode is the agent of a machine that reaches the API over HTTPS.
func remoteNode(o *agentOptions, joined *join.Agent, beats beats, addresses []netip.Addr, log *slog.Logger) (*nodeProcess, error) {
	cluster := joined.Answer()
	config := joined.RESTConfig()
	api, err := nodeClient(config)
	if err != nil {
		return nil, err
	}
	watched, err := nodeCache(config)
	if err != nil {
		return nil, err
	}
	return &nodeProcess{dirs: nodeDirs{o.dataDir}, nodeOptions: nodeOptions{
		name: o.nodeName, dataDir: o.dataDir, addresses: addresses, runtimeEndpoint: o.runtimeEndpoint, cgroup: o.cgroup, flags: o.node,
		podCIDRs: cluster.PodRanges(), clusterDNS: cluster.ClusterDNS, clusterDomain: cluster.ClusterDomain, proxy: len(o.disable) == 0,
		client: api, cache: watched, heartbeat: beats, serving: joined.Serving, clients: joined.Clients(), peers: joined.Peers(), log: log,
	}}, nil
}

// beats sends the node's heartbeats over HTTPS.
type beats struct{ client *heartbeat.Client }

func newBeats(joined *join.Agent, log *slog.Logger) beats {
	return beats{&heartbeat.Client{HTTP: joined.Heartbeats(), Servers: joined.Servers, Lost: joined.Lost, Clock: clock.RealClock{}, Logger: log}}
}

// Run implements the node's Heartbeat. Whose beats they are, the certificate says.
func (b beats) Run(ctx context.Context, _ string) error { return b.client.Run(ctx) }

// Heard implements the node's Heartbeat.
func (b beats) Heard(ctx context.Context) error { return b.client.Heard(ctx) }

// nodeClient makes the client of an agent. It asks nothing of the server, so that
// an agent starts while there is none.
func nodeClient(config *rest.Config) (client.WithWatch, error) {
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return client.NewWithWatch(config, client.Options{HTTPClient: c, Scheme: clientgoscheme.Scheme, Mapper: nodeMapper()})
}

// nodeCache watches what a node needs all of.
func nodeCache(config *rest.Config) (cache.Cache, error) {
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return cache.New(config, cache.Options{HTTPClient: c, Scheme: clientgoscheme.Scheme, Mapper: nodeMapper(), DefaultTransform: cache.TransformStripManagedFields()})
}

// nodeMapper knows the kinds that agents deal with, so that none needs
// discovery.
func nodeMapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{"Pod", "Secret", "ConfigMap", "Service", "ServiceAccount", "Event", "PersistentVolumeClaim"} {
		m.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	m.Add(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), meta.RESTScopeNamespace)
	m.Add(networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), meta.RESTScopeNamespace)
	m.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	m.Add(corev1.SchemeGroupVersion.WithKind("PersistentVolume"), meta.RESTScopeRoot)
	m.Add(nodev1.SchemeGroupVersion.WithKind("RuntimeClass"), meta.RESTScopeRoot)
	m.Add(certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"), meta.RESTScopeRoot)
	return m
}

// hostPort is the two as they go into addresses.
func hostPort(host netip.Addr, port uint16) string {
	return net.JoinHostPort(host.String(), strconv.Itoa(int(port)))
}
