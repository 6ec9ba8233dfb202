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
	"strings"
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
	// ClusterCIDRs are where all pods are, one of each family that they have
	// addresses of: traffic to them is not masqueraded.
	ClusterCIDRs []netip.Prefix
	// NodeName and NodeAddress are for tunnels to nodes that are not on one link
	// with this one; without them there are none.
	NodeName    string
	NodeAddress netip.Addr
	// MTU of the pods' links. Default: that of the link with NodeAddress, less
	// what a tunnel needs where there is one.
	MTU int
	// Rules and Rules6 change the kernel's packet rules. Default: iptables.
	Rules, Rules6 Rules
	Logger        *slog.Logger
}

// family is the network of one address family.
type family struct {
	cluster netip.Prefix
	rules   Rules
	icmp    string // how its rules name redirects
	// What follows is set by Start.
	cidr   netip.Prefix
	leases *leases
}

func (f *family) is6() bool { return f.cluster.Addr().Is6() }

// Network is the node's part of the pod network. Safe for concurrent use.
type Network struct {
	Config
	chains names

	ready chan struct{} // closed once pods can be attached

	mu       sync.Mutex // guards below
	families []*family
	routes   map[string]route // by node and family
	ported   map[string]bool  // chains of pods' host ports
	// inherited are pods with addresses from an earlier life that nobody has
	// claimed yet.
	inherited map[types.UID]bool
}

// New makes it; nothing is changed before Start.
func New(config Config) (*Network, error) {
	if config.Bridge == "" {
		config.Bridge = DefaultBridge
	}
	if len(config.Bridge) > 9 {
		return nil, fmt.Errorf("bridge name %q is longer than 9 characters", config.Bridge)
	}
	if config.Dir == "" || len(config.ClusterCIDRs) == 0 {
		return nil, errors.New("network: directory and cluster CIDRs are needed")
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Rules == nil {
		config.Rules = iptables{"iptables"}
	}
	if config.Rules6 == nil {
		config.Rules6 = iptables{"ip6tables"}
	}
	n := &Network{Config: config, chains: chainNames(config.Bridge), ready: make(chan struct{}), routes: map[string]route{}, ported: map[string]bool{}, inherited: map[types.UID]bool{}}
	for _, cluster := range config.ClusterCIDRs {
		f := &family{cluster: cluster, rules: config.Rules, icmp: "-p icmp -m icmp --icmp-type redirect"}
		if f.is6() {
			f.rules, f.icmp = config.Rules6, "-p icmpv6 -m icmp6 --icmpv6-type redirect"
		}
		if n.family(cluster.Addr()) != nil {
			return nil, fmt.Errorf("network: the cluster CIDRs %v are of one family", config.ClusterCIDRs)
		}
		n.families = append(n.families, f)
	}
	had, err := n.Leased()
	if err != nil {
		return nil, err
	}
	for uid := range had {
		n.inherited[uid] = true
	}
	return n, nil
}

// family gives that of an address; nil: pods have none of it.
func (n *Network) family(a netip.Addr) *family {
	for _, f := range n.families {
		if f.is6() == a.Is6() {
			return f
		}
	}
	return nil
}

// Start makes the node's link for its pod CIDRs and the rules; pods that wait
// to be attached go on then. They have an address of each CIDR: a node that is
// older than its cluster's second family has one only. Called again with the
// same CIDRs it repairs.
func (n *Network) Start(ctx context.Context, cidrs []netip.Prefix) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(cidrs) == 0 {
		return errors.New("start network: the node has no pod CIDR")
	}
	for _, cidr := range cidrs {
		f := n.family(cidr.Addr())
		if f == nil {
			return fmt.Errorf("start network with %s: pods have no address of this family", cidr)
		}
		if err := n.startFamily(ctx, f, cidr); err != nil {
			return err
		}
	}
	if !n.Ready() {
		close(n.ready)
	}
	return nil
}

func (n *Network) leaseDir(f *family) string {
	if f.is6() {
		return filepath.Join(n.Dir, "addresses6")
	}
	return filepath.Join(n.Dir, "addresses")
}

// Leased are the addresses that pods have since before this process began. It
// needs no Start, which waits for the node's ranges.
func (n *Network) Leased() (map[types.UID][]netip.Addr, error) {
	all := map[types.UID][]netip.Addr{}
	for _, f := range n.families {
		if err := leased(n.leaseDir(f), all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (n *Network) startFamily(ctx context.Context, f *family, cidr netip.Prefix) error {
	if f.cidr.IsValid() && f.cidr != cidr {
		return fmt.Errorf("start network with %s: it runs with %s", cidr, f.cidr)
	}
	l, err := openLeases(n.leaseDir(f), cidr)
	if err != nil {
		return err
	}
	if err := n.forward(f); err != nil {
		return err
	}
	if err := n.own(cidr); err != nil {
		return fmt.Errorf("make link %s: %w", n.Bridge, err)
	}
	chains, err := f.rules.Chains(ctx, "filter")
	if err != nil {
		return err
	}
	if err := f.rules.Restore(ctx, n.chains.base(f, cidr, slices.Contains(chains, n.chains.policies))); err != nil {
		return fmt.Errorf("set up rules: %w", err)
	}
	if err := n.chains.hook(ctx, f.rules); err != nil {
		return fmt.Errorf("hook rules: %w", err)
	}
	if f.leases == nil {
		if err := n.recall(ctx, f); err != nil {
			return err
		}
		f.cidr, f.leases = cidr, l
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
		attrs.Name = n.Bridge
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return err
		}
		link, err = netlink.LinkByName(n.Bridge)
	}
	if err != nil {
		return err
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(host(gateway(cidr))), Flags: noDAD(cidr.Addr())}); err != nil {
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

// forward lets the kernel route between links. A machine that has learnt its
// IPv6 routes from routers goes on to.
func (n *Network) forward(f *family) error {
	if !f.is6() {
		return setSysctl("net/ipv4/ip_forward", "1")
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		learns := "net/ipv6/conf/" + link.Attrs().Name + "/accept_ra"
		if have, err := os.ReadFile("/proc/sys/" + learns); err == nil && strings.TrimSpace(string(have)) == "1" {
			if err := setSysctl(learns, "2"); err != nil {
				return err
			}
		}
	}
	return setSysctl("net/ipv6/conf/all/forwarding", "1")
}

func setSysctl(name, value string) error {
	path := "/proc/sys/" + name
	if have, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(have)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value+"\n"), 0o644); err != nil { //nolint:gosec // a kernel file
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// Detach frees a pod's addresses, host ports and links.
func (n *Network) Detach(ctx context.Context, uid types.UID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.families {
		if f.leases == nil {
			continue
		}
		if err := n.closePorts(ctx, f, uid); err != nil {
			return err
		}
	}
	if link, err := netlink.LinkByName(hostLink(n.Bridge, uid)); err == nil {
		if err := netlink.LinkDel(link); err != nil {
			return fmt.Errorf("remove link of pod %s: %w", uid, err)
		}
	}
	for _, f := range n.families {
		if f.leases == nil {
			continue
		}
		if err := f.leases.release(uid); err != nil {
			return err
		}
	}
	return nil
}

// Sweep implements the agent's network.
func (n *Network) Sweep(ctx context.Context, held func(types.UID) bool) error {
	if !n.Ready() {
		return nil
	}
	n.mu.Lock()
	var stale []types.UID
	for uid := range n.inherited {
		if !held(uid) {
			stale = append(stale, uid)
		}
	}
	n.mu.Unlock()
	var errs []error
	for _, uid := range stale {
		if err := n.Detach(ctx, uid); err != nil {
			errs = append(errs, err)
			continue
		}
		n.mu.Lock()
		delete(n.inherited, uid)
		n.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Attach implements the agent's network.
func (n *Network) Attach(ctx context.Context, pod *corev1.Pod, netns string) ([]netip.Addr, error) {
	select {
	case <-n.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	delete(n.inherited, pod.UID)
	n.mu.Unlock()
	// The families are set once the network is ready.
	families := slices.DeleteFunc(slices.Clone(n.families), func(f *family) bool { return f.leases == nil })
	var addresses []netip.Addr
	for _, f := range families {
		address, err := f.leases.take(pod.UID)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	if err := n.link(pod.UID, netns, addresses); err != nil {
		return nil, fmt.Errorf("connect pod: %w", err)
	}
	for i, f := range families {
		if err := n.openPorts(ctx, f, pod, addresses[i]); err != nil {
			return nil, err
		}
	}
	return addresses, nil
}
