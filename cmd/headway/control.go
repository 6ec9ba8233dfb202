package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	agekeys "filippo.io/age"
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/apiserver/authz"
	"github.com/headway-sh/headway/apiserver/inproc"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/gitsource/hosted"
	"github.com/headway-sh/headway/gitsource/render/sops"
	"github.com/headway-sh/headway/gitsource/webhook"
	eventlog "github.com/headway-sh/headway/internal/events"
	"github.com/headway-sh/headway/internal/leader"
	"github.com/headway-sh/headway/internal/pki"
	"github.com/headway-sh/headway/membership/heartbeat"
	"github.com/headway-sh/headway/membership/join"
	"github.com/headway-sh/headway/reconciler"
	"github.com/headway-sh/headway/scheduler"
)

// components are the parts of a server in the order in which they start; each
// is stopped before the ones above it.
func (s *server) components(ctx context.Context) ([]component, error) {
	all := append(profiles(), ownPages(s.clock, s.log), spareHeap(s.clock, gcPercent), component{"awake", s.awake.Run}, component{"apiserver", s.api.Run}, component{"gossip", s.gossip.Run}, component{"gossip keys", s.keepGossipKeys})
	if s.options.enabled("scheduler") {
		all = append(all, component{"scheduler", s.runScheduler})
	}
	if s.options.enabled("reconciler") {
		all = append(all, component{"reconciler", s.runReconciler})
	}
	if s.options.enabled("gitsource") {
		if err := s.mainSource(ctx); err != nil {
			return nil, fmt.Errorf("set up the git source: %w", err)
		}
		all = append(all, component{"gitsource", s.runGitSource})
	}
	if s.options.enabled("agent") {
		node, err := s.localNode()
		if err != nil {
			return nil, fmt.Errorf("node agent: %w", err)
		}
		all = append(all, component{"agent", node.run})
	}
	return all, nil
}

// lead runs f while this server is the leader of a singleton.
func (s *server) lead(ctx context.Context, name string, identity txn.Identity, f func(context.Context, txn.Epoch) error) error {
	peer := s.api.Peer(identity)
	return leader.Run(ctx, leader.Config{
		Name: name, Identity: s.options.nodeName, DB: peer.Txn(), Client: peer.Client(), Alone: s.api.Alone, Clock: s.clock, Logger: s.log,
	}, f)
}

func (s *server) runScheduler(ctx context.Context) error {
	identity := user("system:kube-scheduler")
	return s.lead(ctx, "kube-scheduler", identity, func(ctx context.Context, epoch txn.Epoch) error {
		peer := s.api.Peer(identity).Bound(epoch)
		cache := peer.Cache()
		sched, err := scheduler.New(scheduler.Config{Client: peer.LocalClient(), Cache: cache, Txn: peer.Txn(), Identity: identity, Epoch: epoch, Clock: s.clock, Logger: s.log,
			Profiles: s.options.scheduler.Profiles, Extensions: s.options.scheduler.Extensions, Metrics: s.scheduled, InitialBackoff: s.options.scheduler.InitialBackoff, MaxBackoff: s.options.scheduler.MaxBackoff,
			Seed: uint64(s.clock.Now().UnixNano())})
		if err != nil {
			return err
		}
		return runAll(ctx, s.log, []component{{"scheduler cache", cache.Start}, {"scheduler", sched.Run}})
	})
}

func (s *server) runReconciler(ctx context.Context) error {
	identity := user("system:kube-controller-manager")
	return s.lead(ctx, "kube-controller-manager", identity, func(ctx context.Context, epoch txn.Epoch) error {
		peer := s.api.Peer(identity).Bound(epoch)
		cache := peer.Cache()
		config := s.options.controllers.config()
		as := func(account string) *inproc.Peer {
			return s.api.Peer(authn.ServiceAccount("kube-system", account)).Bound(epoch)
		}
		config.ClientFor = func(account string) client.Client { return as(account).LocalClient() }
		config.TxnFor = func(account string) txn.Interface { return as(account).Txn() }
		config.Client, config.Cache, config.Clock, config.Logger, config.Metrics = peer.LocalClient(), cache, s.clock, s.log, s.counted
		config.RootCA, config.Signer = string(s.api.Authorities().API.PEM), signer{s.api.Authorities()}
		config.Liveness, config.ClusterCIDRs = newLiveness(ctx, s.beats, s.gossip, s.awake), s.podCIDRs
		config.Kinds, config.NamespacedKinds = s.kinds(), s.api.NamespacedKinds
		controllers, err := reconciler.New(config)
		if err != nil {
			return err
		}
		return runAll(ctx, s.log, []component{{"controllers' cache", cache.Start}, {"controllers", controllers.Run}})
	})
}

// kinds are the kinds of the API server's table whose objects are stored.
func (s *server) kinds() []schema.GroupVersionKind {
	var all []schema.GroupVersionKind
	for _, k := range s.api.Kinds().All() {
		if !apiserver.Internal(k) && k.Computed == nil {
			all = append(all, k.GVK)
		}
	}
	return all
}

func (s *server) runGitSource(ctx context.Context) error {
	identity := authn.ServiceAccount("kube-system", "gitsource")
	uid, err := s.clusterUID(ctx)
	if err != nil {
		return err
	}
	keys, err := ageKeys(s.options.ageKey)
	if err != nil {
		return err
	}
	return s.lead(ctx, gitsource.EpochName, identity, func(ctx context.Context, _ txn.Epoch) error {
		c := s.api.Peer(identity).Client()
		ctx, cancel := context.WithCancel(ctx)
		recorder, stop := eventlog.New(ctx, "gitsource", c, s.api.Peer(identity).Txn(), s.clock, s.log)
		defer stop()
		defer cancel() // before stop, which waits for it
		engine, err := gitsource.New(gitsource.Config{
			Metrics: s.sources,
			Events: func(o *v1alpha1.GitSource, kind, reason, message string) {
				recorder.Event(o, kind, reason, message)
			},
			Txn: s.api.Peer(identity).Txn(), Mapper: s.api.Mapper(), Identity: identity, DataDir: gitDir(s.options.dataDir),
			ClusterName: s.options.clusterName, ClusterUID: uid, Clock: s.clock, Logger: s.log,
			Observing: func() { s.observing.Store(true) }, Capabilities: s.api.Capabilities, Readable: s.api.Readable, AgeKeys: keys,
			Logs: func(ctx context.Context, namespace, pod, container string, previous bool, lines int) ([]string, error) {
				return s.api.LastLines(ctx, identity, namespace, pod, container, previous, lines)
			},
		})
		if err != nil {
			return err
		}
		return engine.Run(ctx) // which begins an epoch of its own, on top of the one here
	})
}

// checks are what /readyz asks. A server that is alone is ready when what is
// changed behind git's back is seen; among several, another one may see to it.
func (s *server) checks() []rest.Check {
	if !s.options.enabled("gitsource") {
		return nil
	}
	return []rest.Check{{Name: "gitsource", Check: func(context.Context) error {
		select {
		case <-s.started:
		default:
			return errors.New("the server starts")
		}
		if s.observing.Load() || !s.api.Alone() {
			return nil
		}
		return errors.New("sources do not see writes yet")
	}}}
}

// signer signs what the certificate controller has approved, each signer's
// requests by the authority that is believed for them.
type signer struct{ authorities *apiserver.Authorities }

func (s signer) Sign(_ context.Context, name string, request *x509.CertificateRequest, usages []certificatesv1.KeyUsage, ttl time.Duration) ([]byte, error) {
	ca := s.authorities.Client
	if name == certificatesv1.KubeletServingSignerName {
		ca = s.authorities.NodeServing
	}
	r := pki.Request{CommonName: request.Subject.CommonName, Organizations: request.Subject.Organization, DNSNames: request.DNSNames, IPs: request.IPAddresses, Lifetime: ttl}
	for _, u := range usages {
		r.Server = r.Server || u == certificatesv1.UsageServerAuth
		r.Client = r.Client || u == certificatesv1.UsageClientAuth
	}
	return ca.Sign(request.PublicKey, r, time.Now())
}

// nodeOf is the node whose stream a heartbeat request is.
func (s *server) nodeOf(r *http.Request) (string, bool) {
	id, ok, err := s.api.Identify(r)
	if err != nil || !ok {
		return "", false
	}
	return authz.NodeName(id)
}

func (s *server) routes() map[string]http.Handler {
	return map[string]http.Handler{heartbeat.Path: s.afterStart(s.beats), join.Path: s.afterStart(s.joining()), webhook.Path: s.afterStart(s.hooks()),
		hosted.Prefix: s.afterStart(hostedRepositories(s.options.dataDir, func() *apiserver.Server { return s.api }, s.log))}
}

// advertised is the address that others reach this machine by: as given, as
// bound, or the one that the default route leaves by.
func advertised(given string, bind netip.Addr) (netip.Addr, error) {
	if given != "" {
		address, err := netip.ParseAddr(given)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("--advertise-address: %w", err)
		}
		return address, nil
	}
	if !bind.IsUnspecified() {
		return bind, nil
	}
	// No packet is sent: connecting a UDP socket asks the kernel for the route.
	conn, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil // a machine without network
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), nil
}

func readOptional(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	return os.ReadFile(path)
}

// ageKeys reads the file that --age-key names.
func ageKeys(file string) ([]agekeys.Identity, error) {
	text, err := readOptional(file)
	if err != nil || text == nil {
		return nil, err
	}
	keys, err := sops.Identities(string(text))
	if err != nil {
		return nil, fmt.Errorf("--age-key: %s is %w", file, err)
	}
	return keys, nil
}
