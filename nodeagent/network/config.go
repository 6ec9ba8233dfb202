package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// DefaultBridge is the name of a node's own link where no other is given.
	DefaultBridge = "hw0"
	// podLink is a pod's link as the pod sees it.
	podLink = "eth0"
)

// Config says what the network is.
type Config struct {
	// Bridge is the name of the node's own link, and what the names of the
	// pods' links, chains and sets begin with. Default: hw0.
	Bridge string
	// Dir keeps a file for each address in use.
	Dir string
	// ClusterCIDR is where all pods are: traffic to it is not masqueraded.
	ClusterCIDR netip.Prefix
	// MTU of the pods' links; 0 takes the kernel's default.
	MTU int
	// Rules changes the kernel's packet rules. Default: iptables.
	Rules  Rules
	Logger *slog.Logger
}

// Network is the node's part of the pod network. Safe for concurrent use.
type Network struct {
	Config
	chains names

	mu     sync.Mutex // guards below
	cidr   netip.Prefix
	ready  chan struct{} // closed once pods can be attached
	leases *leases
	routes map[string]route // by node
	ported map[string]bool  // chains of pods' host ports
}

// New makes it; nothing is changed before Start.
func New(config Config) (*Network, error) {
	if config.Bridge == "" {
		config.Bridge = DefaultBridge
	}
	if len(config.Bridge) > 9 {
		return nil, fmt.Errorf("bridge name %q is longer than 9 characters", config.Bridge)
	}
	if config.Dir == "" || !config.ClusterCIDR.IsValid() {
		return nil, errors.New("network: directory and cluster CIDR are needed")
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Rules == nil {
		config.Rules = iptables{}
	}
	return &Network{Config: config, chains: chainNames(config.Bridge), ready: make(chan struct{}), routes: map[string]route{}, ported: map[string]bool{}}, nil
}

// Start makes the node's link for its pod CIDR and the rules; pods that wait
// to be attached go on then. Called again with the same CIDR it repairs.
func (n *Network) Start(ctx context.Context, cidr netip.Prefix) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cidr.IsValid() && n.cidr != cidr {
		return fmt.Errorf("start network with %s: it runs with %s", cidr, n.cidr)
	}
	if !cidr.Addr().Is4() {
		return fmt.Errorf("start network with %s: not an IPv4 range", cidr)
	}
	l, err := openLeases(filepath.Join(n.Dir, "addresses"), cidr)
	if err != nil {
		return err
	}
	if err := forward(); err != nil {
		return err
	}
	if err := n.own(cidr); err != nil {
		return fmt.Errorf("make link %s: %w", n.Bridge, err)
	}
	chains, err := n.Rules.Chains(ctx, "filter")
	if err != nil {
		return err
	}
	if err := n.Rules.Restore(ctx, n.chains.base(n.ClusterCIDR, cidr, slices.Contains(chains, n.chains.policies))); err != nil {
		return fmt.Errorf("set up rules: %w", err)
	}
	if err := n.chains.hook(ctx, n.Rules); err != nil {
		return fmt.Errorf("hook rules: %w", err)
	}
	if !n.cidr.IsValid() {
		if err := n.recall(ctx); err != nil {
			return err
		}
		n.cidr, n.leases = cidr, l
		close(n.ready)
	}
	return nil
}

// Ready tells whether pods can be attached.
func (n *Network) Ready() bool {
	select {
	case <-n.ready:
		return true
	default:
		return false
	}
}

// own makes the node's own link, which has the range's first address, and lets
// nothing of the range leave the node: what no pod has is nowhere. The link is a
// bridge without ports, because not every kernel has dummy links.
func (n *Network) own(cidr netip.Prefix) error {
	link, err := netlink.LinkByName(n.Bridge)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = n.Bridge, n.MTU
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return err
		}
		link, err = netlink.LinkByName(n.Bridge)
	}
	if err != nil {
		return err
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(host(gateway(cidr)))}); err != nil {
		return fmt.Errorf("set address: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	nowhere := &netlink.Route{Type: unix.RTN_UNREACHABLE, Dst: ipNet(cidr.Masked()), Protocol: routeProtocol}
	if err := netlink.RouteReplace(nowhere); err != nil {
		return fmt.Errorf("end the range at the node: %w", err)
	}
	return nil
}

// forward lets the kernel route between links.
func forward() error {
	const path = "/proc/sys/net/ipv4/ip_forward"
	have, err := os.ReadFile(path)
	if err == nil && len(have) > 0 && have[0] == '1' {
		return nil
	}
	if err := os.WriteFile(path, []byte("1\n"), 0o644); err != nil { //nolint:gosec // a kernel file
		return fmt.Errorf("switch forwarding on: %w", err)
	}
	return nil
}

// Detach frees a pod's address, host ports and links.
func (n *Network) Detach(ctx context.Context, uid types.UID) error {
	n.mu.Lock()
	l := n.leases
	n.mu.Unlock()
	if err := n.closePorts(ctx, uid); err != nil {
		return err
	}
	if link, err := netlink.LinkByName(hostLink(n.Bridge, uid)); err == nil {
		if err := netlink.LinkDel(link); err != nil {
			return fmt.Errorf("remove link of pod %s: %w", uid, err)
		}
	}
	if l == nil {
		return nil
	}
	return l.release(uid)
}

// Attach implements the agent's network.
func (n *Network) Attach(ctx context.Context, pod *corev1.Pod, netns string) ([]netip.Addr, error) {
	select {
	case <-n.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	cidr, l := n.cidr, n.leases
	n.mu.Unlock()
	address, err := l.take(pod.UID)
	if err != nil {
		return nil, err
	}
	if err := n.link(pod.UID, netns, address, cidr); err != nil {
		return nil, fmt.Errorf("connect pod: %w", err)
	}
	if err := n.openPorts(ctx, pod, address); err != nil {
		return nil, err
	}
	return []netip.Addr{address}, nil
}
