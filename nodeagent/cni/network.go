package cni

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
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// DefaultConfDir and DefaultBinDir are where everybody looks.
	DefaultConfDir = "/etc/cni/net.d"
	DefaultBinDir  = "/opt/cni/bin"
	// podLink is the pod's link as the pod sees it.
	podLink = "eth0"
	// pluginTimeout is how long a chain has for one command.
	pluginTimeout = 2 * time.Minute
)

// Config says where the plug-ins are.
type Config struct {
	// ConfDir has the configurations, BinDirs the plug-ins.
	ConfDir string
	BinDirs []string
	// Dir keeps what the plug-ins were asked for.
	Dir string
	// ClusterCIDRs say which families pods have addresses of, and in which order.
	ClusterCIDRs []netip.Prefix
	// Policies hooks network policies into the forwarding of the kernel; it is
	// called at the start. nil: not at all.
	Policies func(ctx context.Context) error
	Logger   *slog.Logger
}

// Network is the node's pod network by plug-ins. It is safe for concurrent use;
// calls for one pod come one after the other.
type Network struct {
	Config
	plugins *libcni.CNIConfig
	ready   chan struct{} // closed once the plug-ins have said that they are
	// adding is held for writing while plug-ins collect what no pod has: one that
	// is being added is not on their list yet.
	adding sync.RWMutex

	mu        sync.Mutex // guards below
	cidrs     []netip.Prefix
	inherited map[types.UID]bool // records of an earlier life that nobody has claimed
}

// New makes it; no plug-in runs before Start or Detach.
func New(config Config) (*Network, error) {
	if config.ConfDir == "" || len(config.BinDirs) == 0 || config.Dir == "" || len(config.ClusterCIDRs) == 0 || config.Logger == nil {
		return nil, errors.New("cni: directories, cluster CIDRs and logger are needed")
	}
	n := &Network{Config: config, ready: make(chan struct{}), inherited: map[types.UID]bool{}}
	n.plugins = n.in(config.BinDirs)
	uids, err := n.recorded()
	if err != nil {
		return nil, err
	}
	for _, uid := range uids {
		n.inherited[uid] = true
	}
	return n, nil
}

// in is the plug-ins of these directories.
func (n *Network) in(dirs []string) *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir(dirs, filepath.Join(n.Dir, "cache"), &programs{})
}

// Start asks the plug-ins whether they are ready; pods that wait to be attached
// go on then. The node's pod ranges are for plug-ins that want them.
func (n *Network) Start(ctx context.Context, cidrs []netip.Prefix) error {
	list, err := n.chain()
	if err == nil {
		err = n.probe(ctx, list)
	}
	if err != nil {
		return err
	}
	if n.Policies != nil {
		if err := n.Policies(ctx); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cidrs = slices.Clone(cidrs)
	if !n.started() {
		close(n.ready)
	}
	return nil
}

func (n *Network) started() bool {
	select {
	case <-n.ready:
		return true
	default:
		return false
	}
}

// Ready tells whether pods can be attached: the plug-ins have said so, and there
// still is a configuration.
func (n *Network) Ready() bool {
	if !n.started() {
		return false
	}
	_, err := n.chain()
	return err == nil
}

// SetRoute and DeleteRoute do nothing: the plug-ins know the ways between nodes.
func (*Network) SetRoute(string, netip.Prefix, netip.Addr) error { return nil }

// DeleteRoute implements the node's network.
func (*Network) DeleteRoute(string) error { return nil }

// Leased are the addresses that pods have since before this process began.
func (n *Network) Leased() (map[types.UID][]netip.Addr, error) {
	uids, err := n.recorded()
	if err != nil {
		return nil, err
	}
	all := map[types.UID][]netip.Addr{}
	for _, uid := range uids {
		r, err := n.read(uid)
		if err != nil {
			return nil, err
		}
		if r != nil && len(r.Addresses) > 0 {
			all[uid] = r.Addresses
		}
	}
	return all, nil
}

// Attach implements the agent's network.
func (n *Network) Attach(ctx context.Context, pod *corev1.Pod, path string) ([]netip.Addr, error) {
	select {
	case <-n.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	delete(n.inherited, pod.UID)
	cidrs := n.cidrs
	n.mu.Unlock()
	have, err := n.read(pod.UID)
	if err != nil {
		return nil, err
	}
	if have != nil && len(have.Addresses) > 0 && linked(path) == nil {
		n.check(ctx, pod, have)
		return have.Addresses, nil
	}
	if have != nil {
		if err := n.detach(ctx, pod.UID, have); err != nil {
			return nil, err
		}
	}
	n.adding.RLock()
	defer n.adding.RUnlock()
	list, err := n.chain()
	if err != nil {
		return nil, err
	}
	config, err := inline(list)
	if err != nil {
		return nil, err
	}
	caps, err := capabilities(pod, cidrs)
	if err != nil {
		return nil, err
	}
	return n.add(ctx, pod.UID, list, &record{NetNS: path, BinDirs: n.BinDirs, Config: config, Args: arguments(pod), Capabilities: caps})
}

// add runs the chain, and takes back what a chain has done that has not come to
// its end.
func (n *Network) add(ctx context.Context, uid types.UID, list *libcni.NetworkConfigList, r *record) ([]netip.Addr, error) {
	if err := n.write(uid, r); err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, pluginTimeout)
	defer cancel()
	result, err := n.plugins.AddNetworkList(within, list, r.runtime(uid))
	if err != nil {
		err = fmt.Errorf("add pod to CNI network %q: %w", list.Name, err)
	} else if r.Addresses, err = n.addresses(result); err == nil {
		err = linked(r.NetNS)
	}
	if err != nil {
		r.Addresses = nil
		if ctx.Err() == nil {
			err = errors.Join(err, n.detach(ctx, uid, r))
		}
		return nil, err
	}
	if err := n.write(uid, r); err != nil {
		return nil, err
	}
	return r.Addresses, nil
}

// check asks the plug-ins about a pod that has its network. What they find wrong
// is told, and left: another ADD could give running containers other addresses.
func (n *Network) check(ctx context.Context, pod *corev1.Pod, r *record) {
	ctx, cancel := context.WithTimeout(ctx, pluginTimeout)
	defer cancel()
	list, err := libcni.NetworkConfFromBytes(r.Config)
	if err == nil {
		err = n.plugins.CheckNetworkList(ctx, list, r.runtime(pod.UID))
	}
	if err != nil && !errors.Is(err, libcni.ErrorCheckNotSupp) && ctx.Err() == nil {
		n.Logger.Warn("pod's CNI network is not as it was made", "pod", pod.Namespace+"/"+pod.Name, "err", err)
	}
}

// linked tells what is wrong with the link in a pod's namespace; its loopback,
// which no plug-in has to care for, is set up too.
func linked(path string) error {
	space, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer space.Close()
	inside, err := netlink.NewHandleAt(space, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer inside.Close()
	lo, err := inside.LinkByName("lo")
	if err == nil {
		err = inside.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	if _, err := inside.LinkByName(podLink); err != nil {
		return fmt.Errorf("find %s: %w", podLink, err)
	}
	return nil
}

// Detach takes back what the plug-ins have made for a pod.
func (n *Network) Detach(ctx context.Context, uid types.UID) error {
	r, err := n.read(uid)
	if err != nil || r == nil {
		return err
	}
	return n.detach(ctx, uid, r)
}

func (n *Network) detach(ctx context.Context, uid types.UID, r *record) error {
	list, err := libcni.NetworkConfFromBytes(r.Config)
	if err != nil {
		return fmt.Errorf("configuration that pod %s was attached with: %w", uid, err)
	}
	asked := r.runtime(uid)
	if _, err := os.Stat(r.NetNS); err != nil {
		asked.NetNS = "" // as the specification has it for one that is gone
	}
	ctx, cancel := context.WithTimeout(ctx, pluginTimeout)
	defer cancel()
	if err := n.in(slices.Concat(n.BinDirs, r.BinDirs)).DelNetworkList(ctx, list, asked); err != nil {
		return fmt.Errorf("delete pod %s from CNI network %q: %w", uid, list.Name, err)
	}
	return n.forget(uid)
}

// Sweep implements the agent's network.
func (n *Network) Sweep(ctx context.Context, held func(types.UID) bool) error {
	var errs []error
	n.mu.Lock()
	var stale []types.UID
	for uid := range n.inherited {
		if !held(uid) {
			stale = append(stale, uid)
		}
	}
	n.mu.Unlock()
	for _, uid := range stale {
		if err := n.Detach(ctx, uid); err != nil {
			errs = append(errs, err)
			continue
		}
		n.mu.Lock()
		delete(n.inherited, uid)
		n.mu.Unlock()
	}
	if !n.started() {
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, n.collect(ctx))...)
}

// collect lets the plug-ins free what no pod has.
func (n *Network) collect(ctx context.Context) error {
	n.adding.Lock()
	defer n.adding.Unlock()
	list, err := n.chain()
	if err != nil {
		return err
	}
	uids, err := n.recorded()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pluginTimeout)
	defer cancel()
	if err := n.plugins.GCNetworkList(ctx, list, valid(uids)); err != nil {
		return fmt.Errorf("collect what CNI network %q has left: %w", list.Name, err)
	}
	return nil
}

// Remove takes everything back that plug-ins have made for pods.
func (n *Network) Remove(ctx context.Context) error {
	uids, err := n.recorded()
	if err != nil {
		return err
	}
	var errs []error
	for _, uid := range uids {
		errs = append(errs, n.Detach(ctx, uid))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(n.Dir)
}
