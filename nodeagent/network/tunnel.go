package network

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	tunnelID   = 10104
	tunnelPort = 4789
	// What a VXLAN packet has around it, by the family of the nodes' addresses.
	overhead4 = 50
	overhead6 = 70
)

// tunnelLink is the name of the node's end of the tunnels to nodes on other
// links.
func tunnelLink(bridge string) string { return bridge + "-vx" }

// tunnelAddress is the hardware address of a node's end. All nodes compute it
// from the name, so that none has to be told.
func tunnelAddress(node string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("headway tunnel\x00" + node))
	address := net.HardwareAddr(sum[:6])
	address[0] = address[0]&^1 | 2 // one station's, locally given
	return address
}

// onLink tells whether an address is reached without a gateway.
func onLink(a netip.Addr) (bool, error) {
	routes, err := netlink.RouteGet(a.AsSlice())
	if err != nil {
		return false, fmt.Errorf("find the way to %s: %w", a, err)
	}
	return len(routes) > 0 && routes[0].Gw == nil, nil
}

// uplinkMTU is that of the link with the node's own address; 0: unknown.
func (n *Network) uplinkMTU() int {
	if !n.NodeAddress.IsValid() {
		return 0
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return 0
	}
	for _, a := range addresses {
		if have, ok := netip.AddrFromSlice(a.IP); !ok || have.Unmap() != n.NodeAddress {
			continue
		}
		if link, err := netlink.LinkByIndex(a.LinkIndex); err == nil {
			return link.Attrs().MTU
		}
	}
	return 0
}

// podMTU is that of pods' links: what goes by a tunnel fits into one packet of
// the uplink. 0 leaves it to the kernel.
func (n *Network) podMTU() int {
	mtu := n.MTU
	if mtu == 0 {
		mtu = n.uplinkMTU()
	}
	if _, err := netlink.LinkByName(tunnelLink(n.Bridge)); err != nil || mtu == 0 || n.MTU != 0 {
		return mtu
	}
	return mtu - n.overhead()
}

func (n *Network) overhead() int {
	if n.NodeAddress.Is4() {
		return overhead4
	}
	return overhead6
}

// tunnel gives the node's end, made if it is not there.
func (n *Network) tunnel() (netlink.Link, error) {
	name := tunnelLink(n.Bridge)
	if link, err := netlink.LinkByName(name); err == nil {
		if v, ok := link.(*netlink.Vxlan); ok && v.VxlanId == tunnelID && v.SrcAddr.Equal(n.NodeAddress.AsSlice()) && link.Attrs().HardwareAddr.String() == tunnelAddress(n.NodeName).String() {
			return link, netlink.LinkSetUp(link)
		}
		// The node has another address than in its last life.
		if err := netlink.LinkDel(link); err != nil {
			return nil, fmt.Errorf("remove stale tunnel: %w", err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, tunnelAddress(n.NodeName)
	if mtu := n.uplinkMTU(); mtu > 0 {
		attrs.MTU = mtu - n.overhead()
	}
	link := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: tunnelID, Port: tunnelPort, SrcAddr: n.NodeAddress.AsSlice(), Learning: false}
	if err := netlink.LinkAdd(link); err != nil {
		return nil, fmt.Errorf("make tunnel: %w", err)
	}
	made, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find tunnel: %w", err)
	}
	return made, netlink.LinkSetUp(made)
}

// through sends what is for a route's pods by the tunnel.
func (n *Network) through(r route) error {
	if !n.NodeAddress.IsValid() || n.NodeName == "" {
		return fmt.Errorf("node %s is on no common link, and this node has no address for a tunnel", r.node)
	}
	link, err := n.tunnel()
	if err != nil {
		return err
	}
	for _, entry := range r.neighbours(link) {
		if err := netlink.NeighSet(entry); err != nil {
			return fmt.Errorf("tell the tunnel where node %s is: %w", r.node, err)
		}
	}
	way := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(r.to), Gw: gateway(r.to).AsSlice(), Flags: int(netlink.FLAG_ONLINK), Protocol: routeProtocol}
	if f := n.family(r.to.Addr()); f != nil && f.cidr.IsValid() {
		way.Src = gateway(f.cidr).AsSlice()
	}
	if err := netlink.RouteReplace(way); err != nil {
		return fmt.Errorf("set route to node %s: %w", r.node, err)
	}
	return nil
}

// neighbours say that the other node's end has its gateway's address, and where
// packets for that end go.
func (r route) neighbours(link netlink.Link) []*netlink.Neigh {
	at := tunnelAddress(r.node)
	family := unix.AF_INET
	if r.to.Addr().Is6() {
		family = unix.AF_INET6
	}
	return []*netlink.Neigh{
		{LinkIndex: link.Attrs().Index, Family: family, State: netlink.NUD_PERMANENT, IP: gateway(r.to).AsSlice(), HardwareAddr: at},
		{LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT | netlink.NUD_NOARP, Flags: netlink.NTF_SELF, IP: r.via.AsSlice(), HardwareAddr: at},
	}
}

// leave takes a route's entries out of the tunnel; the end itself stays, for
// other families' entries may be the same.
func (n *Network) leave(r route) error {
	link, err := netlink.LinkByName(tunnelLink(n.Bridge))
	if err != nil {
		return nil //nolint:nilerr // no tunnel, no entries
	}
	if err := netlink.NeighDel(r.neighbours(link)[0]); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("take node %s out of the tunnel: %w", r.node, err)
	}
	return nil
}
