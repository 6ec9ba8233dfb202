package network

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

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

// link connects a pod's namespace to the node. What is there already stays.
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
	host, err := n.pair(uid, space, inside)
	if err != nil {
		return err
	}
	eth, err := configure(inside, address, gateway(cidr), host.Attrs().HardwareAddr)
	if err != nil {
		return err
	}
	return n.lead(host, eth, address, gateway(cidr))
}

// pair makes the two links.
func (n *Network) pair(uid types.UID, space netns.NsHandle, inside *netlink.Handle) (netlink.Link, error) {
	name := hostLink(n.Bridge, uid)
	host, err := netlink.LinkByName(name)
	_, missing := inside.LinkByName(podLink)
	if err == nil && missing != nil {
		// Its other end went with another namespace.
		if err := netlink.LinkDel(host); err != nil {
			return nil, fmt.Errorf("remove stale link: %w", err)
		}
		err = netlink.LinkNotFoundError{}
	}
	if err != nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = name, n.MTU
		pair := &netlink.Veth{LinkAttrs: attrs, PeerName: podLink, PeerNamespace: netlink.NsFd(int(space)), PeerMTU: uint32(n.MTU)} //nolint:gosec
		if err := netlink.LinkAdd(pair); err != nil {
			return nil, fmt.Errorf("add pair of links: %w", err)
		}
		if host, err = netlink.LinkByName(name); err != nil {
			return nil, fmt.Errorf("find link: %w", err)
		}
	}
	// A pod sends with its own address and no other: the kernel drops what does
	// not come from where the way back leads.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/rp_filter", []byte("1\n"), 0o644); err != nil { //nolint:gosec // a kernel file
		return nil, fmt.Errorf("bind link to its pod's address: %w", err)
	}
	return host, netlink.LinkSetUp(host)
}

// configure sets up the links within the pod's namespace. Nobody but the node is
// on the pod's link, and everything goes to it.
func configure(inside *netlink.Handle, address, node netip.Addr, at net.HardwareAddr) (netlink.Link, error) {
	lo, err := inside.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find lo: %w", err)
	}
	if err := inside.LinkSetUp(lo); err != nil {
		return nil, fmt.Errorf("set lo up: %w", err)
	}
	eth, err := inside.LinkByName(podLink)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", podLink, err)
	}
	if err := inside.AddrReplace(eth, &netlink.Addr{IPNet: ipNet(host(address))}); err != nil {
		return nil, fmt.Errorf("set address: %w", err)
	}
	if err := inside.LinkSetUp(eth); err != nil {
		return nil, fmt.Errorf("set %s up: %w", podLink, err)
	}
	if err := inside.NeighSet(neighbour(eth, node, at)); err != nil {
		return nil, fmt.Errorf("tell the pod where the node is: %w", err)
	}
	if err := inside.RouteReplace(&netlink.Route{LinkIndex: eth.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: ipNet(host(node))}); err != nil {
		return nil, fmt.Errorf("set route to the node: %w", err)
	}
	out := &netlink.Route{LinkIndex: eth.Attrs().Index, Gw: node.AsSlice(), Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))}
	if err := inside.RouteReplace(out); err != nil {
		return nil, fmt.Errorf("set default route: %w", err)
	}
	return eth, nil
}

// lead sets the node's way to a pod.
func (n *Network) lead(link, eth netlink.Link, address, node netip.Addr) error {
	if err := netlink.NeighSet(neighbour(link, address, eth.Attrs().HardwareAddr)); err != nil {
		return fmt.Errorf("tell the node where the pod is: %w", err)
	}
	way := &netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: ipNet(host(address)), Src: node.AsSlice(), Protocol: routeProtocol}
	if err := netlink.RouteReplace(way); err != nil {
		return fmt.Errorf("set route to the pod: %w", err)
	}
	return nil
}

// neighbour is a lasting entry: nobody has to be asked who has the address, and
// nobody else can say it is theirs.
func neighbour(link netlink.Link, address netip.Addr, at net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: address.AsSlice(), HardwareAddr: at}
}

// host is the range of one address.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

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
