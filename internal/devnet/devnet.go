// Package devnet makes a small network of machines on one machine: each has a
// network namespace, linked to a switch that is a bridge in a namespace of its
// own, to which this machine has a link too.
//
//	 host                switch (namespace)           node-1 (namespace)
//	┌────────────────┐  ┌────────────────────┐  ┌─────────────────────────┐
//	│ hwd… .1 ───────┼──┼─ host    node-1 ───┼──┼─ eth0 .11               │
//	└────────────────┘  │      (bridge)      │  └─────────────────────────┘
//	                    └────────────────────┘
//
// Namespaces are pinned by bind mounts below the network's directory, so that
// everything here works on what an earlier process has made.
package devnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	switchName = "switch"
	bridgeName = "br0"
	hostPort   = "host"
	// MachineLink is a machine's link as it sees it.
	MachineLink = "eth0"
	maxName     = unix.IFNAMSIZ - 1
)

// Network is such a network. It keeps nothing in memory.
type Network struct {
	// Dir is where the namespaces are pinned.
	Dir string
	// HostLink is the name of this machine's link.
	HostLink string
	// Prefix holds all addresses; this machine has the first.
	Prefix netip.Prefix
}

// Host is this machine's address.
func (n Network) Host() netip.Addr { return n.Prefix.Masked().Addr().Next() }

// Path is a machine's namespace.
func (n Network) Path(machine string) string { return filepath.Join(n.Dir, machine) }

// Up makes the switch and this machine's link to it. Called again it repairs.
func (n Network) Up() error {
	if err := n.space(switchName); err != nil {
		return err
	}
	return n.within(switchName, func(inside *netlink.Handle, space netns.NsHandle) error {
		if _, err := inside.LinkByName(bridgeName); err != nil {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = bridgeName
			if err := inside.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
				return fmt.Errorf("add bridge: %w", err)
			}
		}
		host, err := netlink.LinkByName(n.HostLink)
		if err != nil {
			if host, err = n.plug(inside, space, n.HostLink, hostPort); err != nil {
				return err
			}
		}
		if err := netlink.AddrReplace(host, address(netip.PrefixFrom(n.Host(), n.Prefix.Bits()))); err != nil {
			return fmt.Errorf("set address of %s: %w", n.HostLink, err)
		}
		return errors.Join(netlink.LinkSetUp(host), port(inside, hostPort))
	})
}

// plug makes a pair of links from this process's namespace to the switch.
func (n Network) plug(inside *netlink.Handle, space netns.NsHandle, here, there string) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = here
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: there, PeerNamespace: netlink.NsFd(int(space))})
	if err != nil {
		return nil, fmt.Errorf("add link %s: %w", here, err)
	}
	return netlink.LinkByName(here)
}

// port puts the switch's end of a link onto the bridge.
func port(inside *netlink.Handle, name string) error {
	bridge, err := inside.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	link, err := inside.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find port %s: %w", name, err)
	}
	return errors.Join(inside.LinkSetMaster(link, bridge), inside.LinkSetUp(link), inside.LinkSetUp(bridge))
}

// Add makes a machine with an address. Called again it repairs.
func (n Network) Add(machine string, at netip.Addr) error {
	if len(machine) > maxName || machine == switchName || machine == hostPort {
		return fmt.Errorf("machine name %q: at most %d characters, and not %q or %q", machine, maxName, switchName, hostPort)
	}
	if !n.Prefix.Contains(at) {
		return fmt.Errorf("address %s is not in %s", at, n.Prefix)
	}
	if err := n.space(machine); err != nil {
		return err
	}
	own, err := netns.GetFromPath(n.Path(machine))
	if err != nil {
		return fmt.Errorf("open namespace of %s: %w", machine, err)
	}
	defer own.Close()
	self, err := netlink.NewHandleAt(own, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter namespace of %s: %w", machine, err)
	}
	defer self.Close()
	err = n.within(switchName, func(inside *netlink.Handle, _ netns.NsHandle) error {
		if _, err := self.LinkByName(MachineLink); err != nil {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = machine
			if err := inside.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: MachineLink, PeerNamespace: netlink.NsFd(int(own))}); err != nil {
				return fmt.Errorf("add link of %s: %w", machine, err)
			}
		}
		return port(inside, machine)
	})
	if err != nil {
		return err
	}
	return n.configure(self, at)
}

// configure gives a machine its address and its way out through this one.
func (n Network) configure(self *netlink.Handle, at netip.Addr) error {
	lo, err := self.LinkByName("lo")
	if err != nil {
		return err
	}
	eth, err := self.LinkByName(MachineLink)
	if err != nil {
		return err
	}
	if err := errors.Join(self.LinkSetUp(lo), self.AddrReplace(eth, address(netip.PrefixFrom(at, n.Prefix.Bits()))), self.LinkSetUp(eth)); err != nil {
		return fmt.Errorf("configure link: %w", err)
	}
	way := &netlink.Route{LinkIndex: eth.Attrs().Index, Gw: n.Host().AsSlice(), Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}
	if err := self.RouteReplace(way); err != nil {
		return fmt.Errorf("set default route: %w", err)
	}
	return nil
}

// Plug connects a machine's link at the switch, or cuts it. The machine's own
// end stays as it is: it sees its carrier go, as with a pulled cable.
func (n Network) Plug(machine string, in bool) error {
	return n.within(switchName, func(inside *netlink.Handle, _ netns.NsHandle) error {
		link, err := inside.LinkByName(machine)
		if err != nil {
			return fmt.Errorf("find port of %s: %w", machine, err)
		}
		if in {
			return inside.LinkSetUp(link)
		}
		return inside.LinkSetDown(link)
	})
}

// Down takes everything away. The kernel removes links with their namespaces,
// which end when no process is in them any more.
func (n Network) Down() error {
	var errs []error
	if link, err := netlink.LinkByName(n.HostLink); err == nil {
		errs = append(errs, netlink.LinkDel(link))
	}
	entries, err := os.ReadDir(n.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries {
		path := filepath.Join(n.Dir, e.Name())
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unpin %s: %w", path, err))
			continue
		}
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}

func (n Network) within(machine string, f func(*netlink.Handle, netns.NsHandle) error) error {
	space, err := netns.GetFromPath(n.Path(machine))
	if err != nil {
		return fmt.Errorf("open namespace of %s: %w", machine, err)
	}
	defer space.Close()
	inside, err := netlink.NewHandleAt(space, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter namespace of %s: %w", machine, err)
	}
	defer inside.Close()
	return f(inside, space)
}

// Machines are those that there are, the switch aside.
func (n Network) Machines() ([]string, error) {
	entries, err := os.ReadDir(n.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []string
	for _, e := range entries {
		if e.Name() != switchName && !strings.HasPrefix(e.Name(), ".") {
			all = append(all, e.Name())
		}
	}
	return all, err
}

func address(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
}
