package modes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"

	"github.com/headway-sh/headway/proxy/iptables"
	"github.com/headway-sh/headway/proxy/localnet"
	"github.com/headway-sh/headway/proxy/nftables"
	"github.com/headway-sh/headway/proxy/rules"
)

// Mode is how rules are written.
type Mode string

// Modes.
const (
	IPTables Mode = "iptables"
	NFTables Mode = "nftables"
)

// Validate tells whether this machine can do the mode.
func (m Mode) Validate() error {
	switch m {
	case IPTables:
		return nil
	case NFTables:
		if _, err := exec.LookPath("nft"); err != nil {
			return errors.New("mode nftables needs the program nft; on Debian and Ubuntu: apt-get install nftables")
		}
		return nil
	}
	return fmt.Errorf("there is no mode %q (iptables, nftables)", m)
}

// Config says what backends are for.
type Config struct {
	// Cluster are the pods' addresses of all nodes, at most one prefix a family.
	Cluster []netip.Prefix
	// Localhost makes IPv4 node ports answer on 127.0.0.1 too.
	Localhost bool
}

// Backends makes one for each address family. That of IPv6 touches the kernel
// once there is an IPv6 service.
func Backends(mode Mode, config Config) map[corev1.IPFamily]rules.Backend {
	out := map[corev1.IPFamily]rules.Backend{}
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		ipv6 := family == corev1.IPv6Protocol
		var cluster netip.Prefix
		for _, p := range config.Cluster {
			if p.Addr().Is6() == ipv6 {
				cluster = p
			}
		}
		var backend rules.Backend
		if mode == NFTables {
			backend = nftables.NewTable(nftables.Config{Open: opener(ipv6), IPv6: ipv6, Cluster: cluster, Localhost: config.Localhost, RouteLocalnet: routeLocalnet})
		} else {
			backend = iptables.NewTable(iptables.Config{Kernel: iptables.Exec{IPv6: ipv6}, IPv6: ipv6, Cluster: cluster, Localhost: config.Localhost})
		}
		if ipv6 {
			backend = &lazy{Backend: backend, clean: func(ctx context.Context) error {
				_, err := remove(ctx, mode, true)
				return err
			}}
		}
		out[family] = backend
	}
	return out
}

func routeLocalnet(ctx context.Context, on bool) error { return localnet.Set(ctx, "", on) }

func opener(ipv6 bool) func() (knftables.Interface, error) {
	return func() (knftables.Interface, error) { return nftables.Open(ipv6) }
}

// lazy leaves the kernel alone until there is something to write, but for what
// an earlier life may have left.
type lazy struct {
	rules.Backend
	clean func(context.Context) error
	begun bool
}

func (l *lazy) Set(u rules.Update) {
	l.begun = l.begun || len(u.Rows)+len(u.Local) > 0
	if l.begun {
		l.Backend.Set(u)
	}
}

func (l *lazy) Sync(ctx context.Context) error {
	switch {
	case l.begun:
		return l.Backend.Sync(ctx)
	case l.clean == nil:
		return nil
	}
	if err := l.clean(ctx); err != nil {
		return err
	}
	l.clean = nil
	return nil
}

// Retire takes away what the modes but one have left on this machine. With no
// mode to stay, the kernel no longer routes loopback addresses for us either.
func Retire(ctx context.Context, except Mode) error {
	var errs []error
	some := false
	for _, mode := range []Mode{IPTables, NFTables} {
		if mode == except {
			continue
		}
		for _, ipv6 := range []bool{false, true} {
			found, err := remove(ctx, mode, ipv6)
			some = some || found
			errs = append(errs, err)
		}
	}
	if some && except == "" {
		errs = append(errs, routeLocalnet(ctx, false))
	}
	return errors.Join(errs...)
}

// remove takes away a mode's rules; a program that is not there has left none.
func remove(ctx context.Context, mode Mode, ipv6 bool) (found bool, err error) {
	program := map[Mode]string{IPTables: "iptables-save", NFTables: "nft"}[mode]
	if mode == IPTables && ipv6 {
		program = "ip6tables-save"
	}
	if _, err := exec.LookPath(program); err != nil {
		return false, nil
	}
	if mode == IPTables {
		return iptables.Remove(ctx, iptables.Exec{IPv6: ipv6})
	}
	nft, err := nftables.Open(ipv6)
	if err != nil {
		return false, nil // a kernel without nftables has no table of ours
	}
	return nftables.Remove(ctx, nft)
}
