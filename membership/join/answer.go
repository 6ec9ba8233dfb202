package join

import (
	"errors"
	"net/netip"
)

// Path is where a Server is mounted.
const Path = "/headway/v1/join"

// ServerName is the one name by which an API server is believed.
const ServerName = "kubernetes.default.svc"

// Request is what a machine POSTs to join.
type Request struct {
	// Node is the name that it wants to have, or has.
	Node string `json:"node"`
}

// Answer is what a node needs to know of the cluster.
type Answer struct {
	ClusterName   string     `json:"clusterName"`
	ClusterDomain string     `json:"clusterDomain"`
	ClusterDNS    netip.Addr `json:"clusterDNS"`
	// PodCIDR is the first of PodCIDRs, for agents that know of one only.
	PodCIDR     netip.Prefix   `json:"podCIDR"`
	PodCIDRs    []netip.Prefix `json:"podCIDRs,omitempty"`
	ServiceCIDR netip.Prefix   `json:"serviceCIDR"`
	// ClientCA is the authority, in PEM, of who may ask an agent.
	ClientCA string `json:"clientCA"`
	// NodeCA is the authority, in PEM, of what other nodes serve; servers that are
	// one version older do not tell.
	NodeCA string `json:"nodeCA,omitempty"`
	// Servers are the API endpoints known to the one that answers, HOST:PORT.
	Servers []string `json:"servers"`
	// GossipKey seals the gossip; Seeds are HOST:PORT to join it through.
	GossipKey []byte   `json:"gossipKey"`
	Seeds     []string `json:"seeds"`
	// GossipKeys are all that are in force, GossipKey first.
	GossipKeys [][]byte `json:"gossipKeys,omitempty"`
}

// PodRanges are the ranges of all pods, one of each family that they have
// addresses of.
func (a *Answer) PodRanges() []netip.Prefix {
	if len(a.PodCIDRs) == 0 {
		return []netip.Prefix{a.PodCIDR}
	}
	return a.PodCIDRs
}

func (a *Answer) validate() error {
	switch {
	case !a.PodCIDR.IsValid(), !a.ClusterDNS.IsValid(), a.ClusterDomain == "":
		return errors.New("it tells no pod range, DNS address or cluster domain")
	case a.ClientCA == "":
		return errors.New("it tells no client authority")
	}
	return nil
}
