package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Remove takes everything away that agents with this bridge's name have made,
// of both families: links, routes, rules and the record of addresses.
func (n *Network) Remove(ctx context.Context) error {
	errs := []error{n.removeLinks(), removeRoutes()}
	for _, rules := range []Rules{n.Rules, n.Rules6} {
		errs = append(errs, n.removeRules(ctx, rules))
	}
	return errors.Join(append(errs, os.RemoveAll(n.Dir))...)
}

func (n *Network) removeLinks() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, link := range links {
		name := link.Attrs().Name
		if name == n.Bridge || name == tunnelLink(n.Bridge) || strings.HasPrefix(name, n.Bridge+".") {
			if err := netlink.LinkDel(link); err != nil {
				errs = append(errs, fmt.Errorf("remove link %s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func removeRoutes() error {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	var errs []error
	for i := range routes {
		if err := netlink.RouteDel(&routes[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route to %s: %w", routes[i].Dst, err))
		}
	}
	return errors.Join(errs...)
}

// removeRules unhooks and removes our chains, first emptied and then deleted,
// as they lead to each other.
func (n *Network) removeRules(ctx context.Context, rules Rules) error {
	for _, r := range append(n.chains.hooked(), n.chains.policed()) {
		if err := rules.Delete(ctx, r[0], r[1], r[2:]...); err != nil {
			return fmt.Errorf("unhook rules: %w", err)
		}
	}
	for _, table := range []string{"nat", "filter"} {
		all, err := rules.Chains(ctx, table)
		if err != nil {
			return err
		}
		ours := slices.DeleteFunc(all, func(name string) bool {
			return !strings.HasPrefix(name, n.chains.prefix+"-") && name != n.chains.policies
		})
		if len(ours) == 0 {
			continue
		}
		var script strings.Builder
		script.WriteString("*" + table + "\n")
		for _, name := range ours {
			script.WriteString(":" + name + " - [0:0]\n")
		}
		for _, name := range ours {
			script.WriteString("-X " + name + "\n")
		}
		script.WriteString("COMMIT\n")
		if err := rules.Restore(ctx, script.String()); err != nil {
			return fmt.Errorf("remove rules: %w", err)
		}
	}
	return nil
}
