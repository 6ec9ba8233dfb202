package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/apiserver/authz"
	"github.com/headway-sh/headway/membership"
	"github.com/headway-sh/headway/membership/join"
)

// listenGossip makes the server's part in the gossip.
func (s *server) listenGossip(ctx context.Context, bind netip.Addr) error {
	port := s.options.gossipPort
	if s.address.IsLoopback() {
		// No other machine can reach this one, and several such servers may share it.
		port, bind = 0, s.address
	}
	meta := membership.Meta{API: hostPort(s.address, s.api.Address().Port())}
	if s.options.enabled("agent") {
		meta.Node = s.options.nodeName
	}
	ring, err := s.gossipRing(ctx)
	if err != nil {
		return err
	}
	s.ring.Store(&ring)
	config := membership.Config{Name: s.options.nodeName, Meta: meta, Bind: netip.AddrPortFrom(bind, port), Key: ring[0], Others: ring[1:], Logger: s.log}
	if port != 0 {
		config.Advertise = netip.AddrPortFrom(s.address, port)
	}
	s.gossip, err = membership.New(config)
	return err
}

// droppedGossip counts what came that nobody of this cluster has sent.
func (s *server) droppedGossip() prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "headway_gossip_dropped_total",
		Help: "Gossip that was dropped: sealed with another key or none, or nothing that gossip says."}, func() float64 {
		select {
		case <-s.started:
			return float64(s.gossip.Dropped())
		default:
			return 0
		}
	})
}

// joining answers machines that join.
func (s *server) joining() http.Handler {
	return join.NewServer(join.ServerConfig{
		Identify: s.joiner, Logger: s.log, Admit: s.admitted,
		// The routes are there before the API is.
		Registered: func(ctx context.Context, node string) (bool, error) { return s.api.NodeRegistered(ctx, node) },
		Alive:      func(node string) bool { return s.beats.State(node).Alive },
		Answer: func() join.Answer {
			api, ring := hostPort(s.address, s.api.Address().Port()), *s.ring.Load()
			return join.Answer{
				ClusterName: s.options.clusterName, ClusterDomain: s.api.ClusterDomain(), ClusterDNS: s.api.DNSAddress(), PodCIDR: s.podCIDRs[0], PodCIDRs: s.podCIDRs, ServiceCIDR: s.services,
				ClientCA: string(s.api.Authorities().Client.PEM), NodeCA: string(s.api.Authorities().NodeServing.PEM), Servers: []string{api},
				GossipKey: ring[0], GossipKeys: ring, Seeds: []string{hostPort(s.address, s.gossip.Address().Port())},
			}
		},
	})
}

// joiner tells whether a request is by a join token or by a node.
func (s *server) joiner(r *http.Request) (join.Caller, error) {
	id, _, err := s.api.Identify(r)
	if err != nil {
		return join.Caller{}, err
	}
	caller := join.Caller{Name: id.Name, Token: authn.MayJoin(id.Groups)}
	caller.Node, _ = authz.NodeName(id)
	return caller, nil
}

// admitted counts a use of the caller's join token.
func (s *server) admitted(ctx context.Context, caller join.Caller, node string) error {
	err := s.api.UseJoinToken(ctx, caller.Name, node)
	if errors.Is(err, authn.ErrUsedUp) {
		return fmt.Errorf("%w: %w", join.ErrRefused, err)
	}
	return err
}

// afterStart holds requests off that come while the server is still starting.
func (s *server) afterStart(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-s.started:
			h.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "the server is starting", http.StatusServiceUnavailable)
		}
	})
}
