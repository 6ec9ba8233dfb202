package network_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/headway-sh/headway/nodeagent/network"
)

// wire links two namespaces and gives each end an address.
func wire(t *testing.T, a, b, nameA, nameB, addressA, addressB string, mtu int) {
	t.Helper()
	other, err := netns.GetFromPath(b)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	end := func(name, address string) func() error {
		return func() error {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			at, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(link, at); err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		}
	}
	err = within(t, a, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = nameA, mtu
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsFd(int(other)), PeerMTU: uint32(mtu)}); err != nil {
			return err
		}
		return end(nameA, addressA)()
	})
	if err == nil {
		err = within(t, b, end(nameB, addressB))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// site is a node of its own with one pod that serves a large answer.
type site struct {
	path    string
	network *network.Network
	pod     string
	ips     []netip.Addr
}

func newSite(t *testing.T, number int, router string, answer string) *site {
	t.Helper()
	s := &site{path: namespace(t), pod: namespace(t)}
	address := fmt.Sprintf("198.51.%d.2", number)
	wire(t, s.path, router, "up0", fmt.Sprint("to", number), address+"/24", fmt.Sprintf("198.51.%d.1/24", number), 1400)
	err := within(t, s.path, func() (err error) {
		_, everything, _ := net.ParseCIDR("0.0.0.0/0")
		if err := netlink.RouteAdd(&netlink.Route{Dst: everything, Gw: net.ParseIP(fmt.Sprintf("198.51.%d.1", number))}); err != nil {
			return err
		}
		s.network, err = network.New(network.Config{Dir: t.TempDir(), NodeName: fmt.Sprint("n", number), NodeAddress: netip.MustParseAddr(address),
			ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/56")}})
		if err != nil {
			return err
		}
		if err := s.network.Start(t.Context(), s.cidrs(number)); err != nil {
			return err
		}
		// A pod from before the first tunnel has the uplink's whole packets.
		s.ips, err = s.network.Attach(t.Context(), newPod("pod", 0), s.pod)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	listen(t, s.pod, answer)
	return s
}

func (*site) cidrs(number int) []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", number)), netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", number))}
}

// TestNodesBehindARouter: pods of nodes that are not on one link reach each
// other by a tunnel, in both families over addresses of one.
func TestNodesBehindARouter(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	t.Parallel()
	router := namespace(t)
	if err := within(t, router, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600) }); err != nil {
		t.Fatal(err)
	}
	answer := string(bytes.Repeat([]byte("0123456789"), 10_000))
	one, two := newSite(t, 1, router, answer), newSite(t, 2, router, answer)
	for i, s := range []*site{one, two} {
		other := 2 - i
		via := netip.MustParseAddr(fmt.Sprintf("198.51.%d.2", other))
		err := within(t, s.path, func() error {
			for range 2 {
				for _, to := range s.cidrs(other) {
					if err := s.network.SetRoute(fmt.Sprint("n", other), to, via); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	get := func(what, path string, to netip.Addr) {
		t.Helper()
		var got string
		if err := within(t, path, func() (err error) { got, err = fetch(netip.AddrPortFrom(to, 80)); return err }); err != nil || got != answer {
			t.Errorf("%s: %d of %d bytes, %v", what, len(got), len(answer), err)
		}
	}
	get("pod to pod", one.pod, two.ips[0])
	get("pod to pod by IPv6", one.pod, two.ips[1])
	get("and back", two.pod, one.ips[0])
	get("node to pod", one.path, two.ips[0])
	get("node to pod by IPv6", one.path, two.ips[1])

	// Pods from now on send what fits through the tunnel.
	late := namespace(t)
	if err := within(t, one.path, func() error { _, err := one.network.Attach(t.Context(), newPod("late", 0), late); return err }); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{one.pod: 1400, late: 1350} {
		err := within(t, path, func() error {
			link, err := netlink.LinkByName("eth0")
			if err == nil && link.Attrs().MTU != want {
				err = fmt.Errorf("MTU %d, want %d", link.Attrs().MTU, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	err := within(t, one.path, func() error {
		if err := one.network.DeleteRoute("n2"); err != nil {
			return err
		}
		if routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Gw: net.ParseIP("10.244.2.1")}, netlink.RT_FILTER_GW); err != nil || len(routes) > 0 {
			return fmt.Errorf("routes left: %v, %v", routes, err)
		}
		if err := one.network.Remove(t.Context()); err != nil {
			return err
		}
		links, err := netlink.LinkList()
		if err == nil && len(links) != 2 {
			err = fmt.Errorf("links left: %v", links)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
