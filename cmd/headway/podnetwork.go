package main

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"

	"github.com/headway-sh/headway/nodeagent"
	"github.com/headway-sh/headway/nodeagent/cni"
	"github.com/headway-sh/headway/nodeagent/network"
	"github.com/headway-sh/headway/nodeagent/node"
)

// podNetwork is what both the Node's keeper and the pods' agent need of it.
type podNetwork interface {
	nodeagent.Network
	node.Network
}

func (d nodeDirs) cni() string { return filepath.Join(d.data, "cni") }

// podNetwork is the built-in one, or plug-ins where a directory of
// configurations is given.
func (n *nodeProcess) podNetwork() (podNetwork, error) {
	if n.flags.cniConfDir == "" {
		return network.New(network.Config{Dir: n.dirs.network(), ClusterCIDRs: n.podCIDRs, NodeName: n.name, NodeAddress: n.addresses[0], Logger: n.log})
	}
	return cni.New(cni.Config{
		ConfDir: n.flags.cniConfDir, BinDirs: filepath.SplitList(n.flags.cniBinDir), Dir: n.dirs.cni(), ClusterCIDRs: n.podCIDRs,
		Policies: n.hookPolicies, Logger: n.log,
	})
}

// hookPolicies has network policies enforced on plug-ins' pods.
func (n *nodeProcess) hookPolicies(ctx context.Context) error {
	for _, cidr := range n.podCIDRs {
		bridged, err := network.HookPolicies(ctx, network.DefaultBridge, cidr.Addr().Is6())
		if err != nil {
			return err
		}
		if !bridged {
			n.log.Warn("the kernel has no br_netfilter: network policies do not hold between pods on one bridge of a CNI plug-in", "family", cidr)
		}
	}
	return nil
}

// removePodNetwork takes either network's traces away; which of them the node
// had is told by what it has kept.
func (n *nodeProcess) removePodNetwork(ctx context.Context) error {
	all := []netip.Prefix{netip.MustParsePrefix(defaultPodCIDR)}
	builtIn, err := network.New(network.Config{Dir: n.dirs.network(), ClusterCIDRs: all, Logger: quiet})
	if err != nil {
		return err
	}
	plugins, err := cni.New(cni.Config{ConfDir: cni.DefaultConfDir, BinDirs: []string{cni.DefaultBinDir}, Dir: n.dirs.cni(), ClusterCIDRs: all, Logger: quiet})
	if err != nil {
		return err
	}
	return errors.Join(plugins.Remove(ctx), builtIn.Remove(ctx))
}
