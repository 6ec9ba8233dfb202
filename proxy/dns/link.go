package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LinkName is the link that carries the address of cluster DNS on every node,
// so that pods reach their own node's server by it.
const LinkName = "hw-dns"

// Link gives this machine the address. It is idempotent.
func Link(address netip.Addr) error {
	link, err := netlink.LinkByName(LinkName)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		// A bridge without ports, because not every kernel has dummy links.
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: LinkName}}); err != nil {
			return fmt.Errorf("add link %s: %w", LinkName, err)
		}
		link, err = netlink.LinkByName(LinkName)
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", LinkName, err)
	}
	prefix, err := netlink.ParseAddr(netip.PrefixFrom(address, address.BitLen()).String())
	if err != nil {
		return err
	}
	if err := netlink.AddrReplace(link, prefix); err != nil {
		return fmt.Errorf("give link %s the address %s: %w", LinkName, address, err)
	}
	return netlink.LinkSetUp(link)
}

// Unlink takes the link away; a missing one is success.
func Unlink() error {
	link, err := netlink.LinkByName(LinkName)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", LinkName, err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete link %s: %w", LinkName, err)
	}
	return nil
}
