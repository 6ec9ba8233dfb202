package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/proxy"
	"github.com/headway-sh/headway/proxy/conntrack"
	"github.com/headway-sh/headway/proxy/dns"
	"github.com/headway-sh/headway/proxy/healthcheck"
	"github.com/headway-sh/headway/proxy/modes"
)

// serviceProxy makes the service rules' keeper and the cluster DNS server.
func (n *nodeProcess) serviceProxy(labels func() map[string]string) ([]component, error) {
	zone := dns.NewZone(n.clusterDomain)
	health := healthcheck.New(nil, n.log)
	p, err := proxy.New(proxy.Config{Cache: n.cache, NodeName: n.name, NodeLabels: labels, Own: []netip.Addr{n.clusterDNS},
		Backends: modes.Backends(n.flags.proxyMode, modes.Config{Cluster: n.podCIDRs, Localhost: true}),
		Flows:    conntrack.Kernel{}, Health: health, Zone: zone, Clock: clock.RealClock{}, Logger: n.log})
	if err != nil {
		return nil, err
	}
	retire := func(ctx context.Context) error { return retireModes(ctx, p, n.flags.proxyMode, n.log) }
	parts := []component{{"proxy cache", n.cache.Start}, {"service proxy", p.Run}, {"health check ports", health.Run}, {"other proxy modes", retire}}
	server, err := n.dnsServer(zone)
	if err != nil {
		return nil, err
	}
	return append(parts, component{"cluster DNS", server.Run}), nil
}

func (n *nodeProcess) dnsServer(zone *dns.Zone) (*dns.Server, error) {
	if err := dns.Link(n.clusterDNS); err != nil {
		return nil, fmt.Errorf("take the address of cluster DNS: %w", err)
	}
	at := netip.AddrPortFrom(n.clusterDNS, 53)
	packet, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, fmt.Errorf("listen for cluster DNS: %w", err)
	}
	stream, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for cluster DNS: %w", err), packet.Close())
	}
	upstreams, err := dns.Upstreams("/etc/resolv.conf", n.clusterDNS.AsSlice())
	if err != nil {
		n.log.Warn("names outside the cluster will not resolve", "error", err)
	}
	return dns.NewServer(dns.Config{Zone: zone, Packet: packet, Stream: stream, Upstreams: upstreams, Logger: n.log}), nil
}

// retireModes takes away what another mode has left, once this one's rules are
// there: connections find a rule all the time.
func retireModes(ctx context.Context, p *proxy.Proxy, mode modes.Mode, log *slog.Logger) error {
	select {
	case <-p.Synced():
	case <-ctx.Done():
		return nil
	}
	if err := modes.Retire(ctx, mode); err != nil && ctx.Err() == nil {
		log.Warn("rules of another proxy mode are still there", "error", err)
	}
	<-ctx.Done()
	return nil
}
