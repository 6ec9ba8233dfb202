package policy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// maxElements is how many elements a set may have.
const maxElements = 1 << 20

// protocols by their names in elements.
var protocols = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

func (k IPTables) family() uint8 {
	if k.IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// with runs f with a socket in the namespace.
func (k IPTables) with(f func(*netlink.Handle) error) error {
	space := netns.None()
	if k.NetNS != "" {
		var err error
		if space, err = netns.GetFromPath(k.NetNS); err != nil {
			return fmt.Errorf("open network namespace: %w", err)
		}
		defer space.Close()
	}
	h, err := netlink.NewHandleAt(space, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open netfilter socket: %w", err)
	}
	defer h.Close()
	return f(h)
}

// Sets implements Kernel.
func (k IPTables) Sets(_ context.Context, prefix string) (map[string]Set, error) {
	sets := map[string]Set{}
	err := k.with(func(h *netlink.Handle) error {
		all, err := h.IpsetListAll()
		if err != nil {
			return fmt.Errorf("list sets: %w", err)
		}
		for i := range all {
			name := all[i].SetName
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			// A large set comes in several messages, the first of which says its kind.
			set, ok := sets[name]
			if !ok {
				set = Set{Kind: Kind(all[i].TypeName), Elements: map[string]bool{}}
				sets[name] = set
			}
			for _, e := range all[i].Entries {
				if text := elementText(set.Kind, e); text != "" {
					set.Elements[text] = true
				}
			}
		}
		return nil
	})
	return sets, err
}

// Create implements Kernel.
func (k IPTables) Create(_ context.Context, set string, kind Kind) error {
	return k.with(func(h *netlink.Handle) error {
		err := h.IpsetCreate(set, string(kind), netlink.IpsetCreateOptions{Family: k.family(), MaxElements: maxElements, Replace: true})
		if err != nil {
			return fmt.Errorf("create set %s: %w", set, err)
		}
		return nil
	})
}

// Destroy implements Kernel.
func (k IPTables) Destroy(_ context.Context, set string) error {
	return k.with(func(h *netlink.Handle) error {
		if err := h.IpsetDestroy(set); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("destroy set %s: %w", set, err)
		}
		return nil
	})
}

// Add implements Kernel.
func (k IPTables) Add(_ context.Context, set string, kind Kind, element string) error {
	return k.change((*netlink.Handle).IpsetAdd, "add to", set, kind, element)
}

// Remove implements Kernel.
func (k IPTables) Remove(_ context.Context, set string, kind Kind, element string) error {
	return k.change((*netlink.Handle).IpsetDel, "remove from", set, kind, element)
}

func (k IPTables) change(f func(*netlink.Handle, string, *netlink.IPSetEntry) error, verb, set string, kind Kind, element string) error {
	entry, err := parseElement(kind, element)
	if err != nil {
		return err
	}
	return k.with(func(h *netlink.Handle) error {
		if err := f(h, set, entry); err != nil && !errors.Is(err, nl.IPSetError(nl.IPSET_ERR_EXIST)) {
			return fmt.Errorf("%s set %s: %s: %w", verb, set, element, err)
		}
		return nil
	})
}

func parseElement(kind Kind, element string) (*netlink.IPSetEntry, error) {
	address, rest, _ := strings.Cut(element, ",")
	if kind == Networks {
		p, err := netip.ParsePrefix(address)
		if err != nil {
			return nil, fmt.Errorf("element: %w", err)
		}
		return &netlink.IPSetEntry{IP: p.Addr().AsSlice(), CIDR: uint8(p.Bits()), Replace: true}, nil
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return nil, fmt.Errorf("element: %w", err)
	}
	entry := &netlink.IPSetEntry{IP: a.AsSlice(), Replace: true}
	if kind == Ports {
		name, number, _ := strings.Cut(rest, ":")
		port, err := strconv.ParseUint(number, 10, 16)
		protocol, ok := protocols[name]
		if err != nil || !ok {
			return nil, fmt.Errorf("element %q is no port", element)
		}
		n := uint16(port)
		entry.Protocol, entry.Port = &protocol, &n
	}
	return entry, nil
}

// elementText is the entry as parseElement reads it; empty for what is not of
// the kind.
func elementText(kind Kind, e netlink.IPSetEntry) string {
	a, ok := netip.AddrFromSlice(e.IP)
	if !ok {
		return ""
	}
	switch {
	case kind == Networks && e.CIDR == 0:
		return netip.PrefixFrom(a, a.BitLen()).String()
	case kind == Networks:
		return netip.PrefixFrom(a, int(e.CIDR)).String()
	case kind == Ports && e.Port != nil && e.Protocol != nil:
		for name, number := range protocols {
			if number == *e.Protocol {
				return a.String() + "," + name + ":" + strconv.Itoa(int(*e.Port))
			}
		}
		return ""
	}
	return a.String()
}
