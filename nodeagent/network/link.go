package network

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// hostLink is the name of the node's end of a pod's pair, made from the
// bridge's name and the pod's UID and no longer than the kernel allows.
func hostLink(bridge string, uid types.UID) string {
	sum := sha256.Sum256([]byte(uid))
	return bridge + "." + hex.EncodeToString(sum[:])[:unix.IFNAMSIZ-2-len(bridge)]
}

// link connects a pod's namespace to the bridge. What is there already stays.
func (n *Network) link(uid types.UID, path string, address netip.Addr, cidr netip.Prefix) error {
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
	if err := n.pair(uid, space, inside); err != nil {
		return err
	}
	return configure(inside, address, cidr)
}

// pair makes the two links and puts the node's end onto the bridge.
func (n *Network) pair(uid types.UID, space netns.NsHandle, inside *netlink.Handle) error {
	name := hostLink(n.Bridge, uid)
	bridge, err := netlink.LinkByName(n.Bridge)
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	host, err := netlink.LinkByName(name)
	_, missing := inside.LinkByName(podLink)
	if err == nil && missing != nil {
		// Its other end went with another namespace.
		if err := netlink.LinkDel(host); err != nil {
			return fmt.Errorf("remove stale link: %w", err)
		}
		err = netlink.LinkNotFoundError{}
	}
	if err != nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.MasterIndex = name, n.MTU, bridge.Attrs().Index
		pair := &netlink.Veth{LinkAttrs: attrs, PeerName: podLink, PeerNamespace: netlink.NsFd(int(space)), PeerMTU: uint32(n.MTU)} //nolint:gosec
		if err := netlink.LinkAdd(pair); err != nil {
			return fmt.Errorf("add pair of links: %w", err)
		}
		if host, err = netlink.LinkByName(name); err != nil {
			return fmt.Errorf("find link: %w", err)
		}
	}
	if host.Attrs().MasterIndex != bridge.Attrs().Index {
		if err := netlink.LinkSetMaster(host, bridge); err != nil {
			return fmt.Errorf("put link onto bridge: %w", err)
		}
	}
	// A pod reaches itself through a Service by the way it came.
	if err := netlink.LinkSetHairpin(host, true); err != nil {
		return fmt.Errorf("set hairpin: %w", err)
	}
	return netlink.LinkSetUp(host)
}

// configure sets up the links within the pod's namespace.
func configure(inside *netlink.Handle, address netip.Addr, cidr netip.Prefix) error {
	lo, err := inside.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := inside.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	eth, err := inside.LinkByName(podLink)
	if err != nil {
		return fmt.Errorf("find %s: %w", podLink, err)
	}
	if err := inside.AddrReplace(eth, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(address, cidr.Bits()))}); err != nil {
		return fmt.Errorf("set address: %w", err)
	}
	if err := inside.LinkSetUp(eth); err != nil {
		return fmt.Errorf("set %s up: %w", podLink, err)
	}
	route := &netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway(cidr).AsSlice(), Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}
	if err := inside.RouteReplace(route); err != nil {
		return fmt.Errorf("set default route: %w", err)
	}
	return nil
}

// route is the way to another node's pods.
type route struct {
	to  netip.Prefix
	via netip.Addr
}

// SetRoute sends what is for another node's pods to that node's address.
func (n *Network) SetRoute(node string, to netip.Prefix, via netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	wanted := route{to, via}
	if have, ok := n.routes[node]; ok && have != wanted {
		if err := have.remove(); err != nil {
			return err
		}
	}
	if err := netlink.RouteReplace(wanted.netlink()); err != nil {
		return fmt.Errorf("set route to node %s: %w", node, err)
	}
	n.routes[node] = wanted
	return nil
}

// DeleteRoute forgets the way to a node.
func (n *Network) DeleteRoute(node string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	have, ok := n.routes[node]
	if !ok {
		return nil
	}
	delete(n.routes, node)
	return have.remove()
}

func (r route) netlink() *netlink.Route {
	return &netlink.Route{Dst: ipNet(r.to), Gw: r.via.AsSlice(), Protocol: routeProtocol}
}

func (r route) remove() error {
	err := netlink.RouteDel(r.netlink())
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove route to %s: %w", r.to, err)
	}
	return nil
}

// routeProtocol marks our routes in the kernel's table, so that Remove finds
// those of an agent that is gone.
const routeProtocol = 104
