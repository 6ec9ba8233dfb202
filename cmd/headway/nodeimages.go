package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/headway-sh/headway/nodeagent/node"
	"github.com/headway-sh/headway/nodeagent/registry"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
)

// nodeImages are the places that a node's images come from.
type nodeImages struct {
	*nodeProcess
	// node knows the other nodes, once it is there.
	node atomic.Pointer[node.Node]
}

func (n *nodeProcess) newImages() *nodeImages { return &nodeImages{nodeProcess: n} }

var _ containerd.Registries = (*nodeImages)(nil)

// Endpoints implements containerd.Registries. The file is read for each pull: a
// change of it counts from the next one on.
func (n *nodeImages) Endpoints(name string) ([]registry.Endpoint, error) {
	file, err := registry.ReadFile(n.flags.registries)
	if err != nil {
		return nil, err
	}
	return file.Endpoints(name)
}

// peers are the other nodes; nil: they cannot be asked.
func (n *nodeImages) peers() containerd.Peers {
	if n.nodeProcess.peers == nil {
		return nil
	}
	return registry.NewPeers(func() []netip.AddrPort {
		if known := n.node.Load(); known != nil {
			return known.Peers()
		}
		return nil
	}, n.nodeProcess.peers)
}

// whoMayAsk lets the API servers ask an agent, which have authorized the person
// behind the request, other nodes for images, and nobody else for anything.
type whoMayAsk struct{ node func(name string) bool }

// Authorize implements serve.Authorizer.
func (w whoMayAsk) Authorize(_ context.Context, user string, groups []string, _, subresource string) error {
	if user == "kube-apiserver-kubelet-client" {
		return nil
	}
	if subresource == "images" {
		name, ok := strings.CutPrefix(user, "system:node:")
		if ok && slices.Contains(groups, "system:nodes") && w.node(name) {
			return nil
		}
		return fmt.Errorf("user %q is no node of this cluster", user)
	}
	return fmt.Errorf("user %q may not ask an agent; ask the API server", user)
}
