package main

import (
	"log/slog"
	"strings"

	"github.com/headway-sh/headway/membership"
	"github.com/headway-sh/headway/membership/heartbeat"
)

// answerProbes answers nodes' probes by the way that gossip takes.
func answerProbes(beats *heartbeat.Server, gossip *membership.Membership, log *slog.Logger) {
	gossip.Receive(func(message []byte) {
		node, answer, err := beats.Probed(message)
		if err != nil {
			log.Debug("probe not believed", "err", err)
			return
		}
		send(gossip, func(m membership.Member) bool { return m.Meta.Node == node }, answer, log)
	})
}

// sendProbes gives an agent's heartbeats a way for their probes.
func sendProbes(client *heartbeat.Client, gossip *membership.Membership, log *slog.Logger) {
	client.Send = func(server string, message []byte) {
		api := strings.TrimPrefix(server, "https://")
		send(gossip, func(m membership.Member) bool { return m.Meta.API == api }, message, log)
	}
	gossip.Receive(client.Receive)
}

// send sends to the members that are meant: one, or an older self of it too.
func send(gossip *membership.Membership, meant func(membership.Member) bool, message []byte, log *slog.Logger) {
	for _, m := range gossip.Members() {
		if !meant(m) {
			continue
		}
		if err := gossip.Send(m, message); err != nil {
			log.Debug("probe not sent", "err", err)
		}
	}
}
