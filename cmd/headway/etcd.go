package main

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/headway-sh/headway/apiserver/etcd"
)

// etcdOptions make a server one of several. All servers of a cluster share the
// files of the first one's pki directory.
type etcdOptions struct {
	name, peerURL, initialCluster, token string
	join                                 bool
}

func (o *etcdOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.name, "etcd-name", "", "name of this server's etcd member (default: the node's name)")
	f.StringVar(&o.peerURL, "etcd-peer-url", "", "https:// URL at which the other servers' etcd members reach this one's (default: this is the only server)")
	f.StringVar(&o.initialCluster, "etcd-initial-cluster", "", "all servers' etcd members of a new cluster, as NAME=URL,NAME=URL")
	f.StringVar(&o.token, "etcd-cluster-token", "", "word that all servers of a new cluster share and no other cluster has")
	f.BoolVar(&o.join, "etcd-join", false, "join an etcd cluster that is there already and knows this member")
	for _, name := range []string{"etcd-name", "etcd-peer-url", "etcd-initial-cluster", "etcd-cluster-token", "etcd-join"} {
		f.Lookup(name).Hidden = true // several servers work, but no command sets them up yet
	}
}

// config is the member's; node is the server's own name.
func (o *etcdOptions) config(node string) (etcd.Config, error) {
	if o.peerURL == "" {
		if o.name != "" || o.initialCluster != "" || o.token != "" || o.join {
			return etcd.Config{}, errors.New("--etcd-peer-url is needed when there are several servers")
		}
		return etcd.Config{}, nil
	}
	c := etcd.Config{Name: o.name, PeerURL: o.peerURL, InitialCluster: o.initialCluster, Token: o.token, Join: o.join}
	if c.Name == "" {
		c.Name = node
	}
	return c, nil
}
