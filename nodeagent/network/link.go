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

// link connects a pod's namespace to the node. What is there already stays.
func (n *Network) link(uid types.UID, path string, addresses []netip.Addr) error {
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
	eth, err := up(inside)
	if err != nil {
		return err
	}
	for _, address := range addresses {
		node := gateway(n.family(address).cidr)
		if err := configure(inside, eth, address, node, host.Attrs().HardwareAddr); err != nil {
			return err
		}
		if err := n.lead(host, eth, address, node); err != nil {
			return err
		}
	}
	return nil
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
		attrs.Name, attrs.MTU = name, n.podMTU()
		pair := &netlink.Veth{LinkAttrs: attrs, PeerName: podLink, PeerNamespace: netlink.NsFd(int(space)), PeerMTU: uint32(attrs.MTU)} //nolint:gosec
		if err := netlink.LinkAdd(pair); err != nil {
			return nil, fmt.Errorf("add pair of links: %w", err)
		}
		if host, err = netlink.LinkByName(name); err != nil {
			return nil, fmt.Errorf("find link: %w", err)
		}
	}
	// A pod sends with its own address and no other: the kernel drops what does
	// not come from where the way back leads.
	if err := setSysctl("net/ipv4/conf/"+name+"/rp_filter", "1"); err != nil {
		return nil, fmt.Errorf("bind link to its pod's address: %w", err)
	}
	return host, netlink.LinkSetUp(host)
}

// up sets the links within the pod's namespace up.
func up(inside *netlink.Handle) (netlink.Link, error) {
	var link netlink.Link
	for _, name := range []string{"lo", podLink} {
		var err error
		if link, err = inside.LinkByName(name); err != nil {
			return nil, fmt.Errorf("find %s: %w", name, err)
		}
		if err := inside.LinkSetUp(link); err != nil {
			return nil, fmt.Errorf("set %s up: %w", name, err)
		}
	}
	return link, nil
}

// configure gives the pod's link an address. Nobody but the node is on it, and
// everything goes to the node.
func configure(inside *netlink.Handle, eth netlink.Link, address, node netip.Addr, at net.HardwareAddr) error {
	if err := inside.AddrReplace(eth, &netlink.Addr{IPNet: ipNet(host(address)), Flags: noDAD(address)}); err != nil {
		return fmt.Errorf("set address: %w", err)
	}
	if err := inside.NeighSet(neighbour(eth, node, at)); err != nil {
		return fmt.Errorf("tell the pod where the node is: %w", err)
	}
	if err := inside.RouteReplace(&netlink.Route{LinkIndex: eth.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: ipNet(host(node))}); err != nil {
		return fmt.Errorf("set route to the node: %w", err)
	}
	everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if node.Is6() {
		everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if err := inside.RouteReplace(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: node.AsSlice(), Dst: ipNet(everything)}); err != nil {
		return fmt.Errorf("set default route: %w", err)
	}
	return nil
}

// noDAD is for addresses that cannot be anybody else's: they are of use at once.
func noDAD(a netip.Addr) int {
	if a.Is6() {
		return unix.IFA_F_NODAD
	}
	return 0
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

// route is the way to another node's pods of one family.
type route struct {
	node     string
	to       netip.Prefix
	via      netip.Addr
	tunneled bool
}

func routeKey(node string, ipv6 bool) string { return fmt.Sprint(node, " ", ipv6) }

// SetRoute sends what is for another node's pods to that node's address:
// directly where both are on one link, and else by a tunnel, which also carries
// another family than the address's.
func (n *Network) SetRoute(node string, to netip.Prefix, via netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	direct := via.Is4() == to.Addr().Is4()
	if direct {
		var err error
		if direct, err = onLink(via); err != nil {
			return err
		}
	}
	key, wanted := routeKey(node, to.Addr().Is6()), route{node, to, via, !direct}
	if have, ok := n.routes[key]; ok && have != wanted {
		if err := n.removeRoute(have); err != nil {
			return err
		}
		delete(n.routes, key)
	}
	if wanted.tunneled {
		if err := n.through(wanted); err != nil {
			return err
		}
	} else if err := netlink.RouteReplace(wanted.netlink()); err != nil {
		return fmt.Errorf("set route to node %s: %w", node, err)
	}
	n.routes[key] = wanted
	return nil
}

// DeleteRoute forgets the ways to a node.
func (n *Network) DeleteRoute(node string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, key := range []string{routeKey(node, false), routeKey(node, true)} {
		if have, ok := n.routes[key]; ok {
			delete(n.routes, key)
			errs = append(errs, n.removeRoute(have))
		}
	}
	return errors.Join(errs...)
}

func (r route) netlink() *netlink.Route {
	return &netlink.Route{Dst: ipNet(r.to), Gw: r.via.AsSlice(), Protocol: routeProtocol}
}

func (n *Network) removeRoute(r route) error {
	err := netlink.RouteDel(&netlink.Route{Dst: ipNet(r.to), Protocol: routeProtocol})
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove route to %s: %w", r.to, err)
	}
	if r.tunneled {
		return n.leave(r)
	}
	return nil
}

// routeProtocol marks our routes in the kernel's table, so that Remove finds
// those of an agent that is gone.
const routeProtocol = 104
