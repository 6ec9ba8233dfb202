package conntrack

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/proxy/rules"
)

// Flow is a connection as the kernel remembers it: whom the client asked, and
// who answers it.
type Flow struct{ Asked, Answers netip.AddrPort }

// Stale tells of UDP flows whether they go to what is no longer an endpoint of
// the rows that they were made to. Flows to anything else are not.
func Stale(rows []rules.Row) func(Flow) bool {
	type ends map[netip.AddrPort]bool
	byAddress, byPort := map[netip.AddrPort]ends{}, map[uint16]ends{}
	for i := range rows {
		r := &rows[i]
		if r.Protocol != "udp" {
			continue
		}
		set := ends{}
		for _, action := range []rules.Action{r.Pods, r.Host, r.World} {
			for _, to := range action.To {
				set[to] = true
			}
		}
		if r.IP.IsValid() {
			byAddress[netip.AddrPortFrom(r.IP, r.Port)] = set
		} else {
			byPort[r.Port] = set
		}
	}
	return func(f Flow) bool {
		if set, ok := byAddress[f.Asked]; ok {
			return !set[f.Answers]
		}
		// Of a node port only what was translated is ours: the same port of another
		// machine has nothing to do with it.
		set, ok := byPort[f.Asked.Port()]
		return ok && f.Asked != f.Answers && !set[f.Answers]
	}
}

// HasUDP tells whether any row can have stale flows.
func HasUDP(rows []rules.Row) bool {
	for i := range rows {
		if rows[i].Protocol == "udp" {
			return true
		}
	}
	return false
}

// Kernel forgets flows of this network namespace.
type Kernel struct{}

// Forget deletes the rows' stale UDP flows.
func (Kernel) Forget(rows []rules.Row, ipv6 bool) error {
	family := netlink.InetFamily(unix.AF_INET)
	if ipv6 {
		family = unix.AF_INET6
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filter(Stale(rows))); err != nil {
		return fmt.Errorf("forget stale UDP flows: %w", err)
	}
	return nil
}

// filter is netlink's view of what is stale.
type filter func(Flow) bool

// MatchConntrackFlow tells whether a flow is to go.
func (f filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	asked, ok1 := netip.AddrFromSlice(flow.Forward.DstIP)
	answers, ok2 := netip.AddrFromSlice(flow.Reverse.SrcIP)
	return ok1 && ok2 && f(Flow{netip.AddrPortFrom(asked.Unmap(), flow.Forward.DstPort), netip.AddrPortFrom(answers.Unmap(), flow.Reverse.SrcPort)})
}
