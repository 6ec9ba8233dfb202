package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/remote"
	"github.com/headway-sh/headway/apiserver/admission"
	"github.com/headway-sh/headway/apiserver/admission/policy"
	"github.com/headway-sh/headway/apiserver/admission/webhook"
	"github.com/headway-sh/headway/apiserver/audit"
	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/apiserver/authn/oidc"
	"github.com/headway-sh/headway/apiserver/authz"
	"github.com/headway-sh/headway/apiserver/connect"
	"github.com/headway-sh/headway/apiserver/custom"
	"github.com/headway-sh/headway/apiserver/discovery"
	"github.com/headway-sh/headway/apiserver/etcd"
	"github.com/headway-sh/headway/apiserver/fairness"
	"github.com/headway-sh/headway/apiserver/fieldmanager"
	"github.com/headway-sh/headway/apiserver/inproc"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
	"github.com/headway-sh/headway/apiserver/openapi"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/txnhttp"
	"github.com/headway-sh/headway/apiserver/usage"
	"github.com/headway-sh/headway/apiserver/write"
	"github.com/headway-sh/headway/internal/dataformat"
)

// Server is one API server with its etcd member.
type Server struct {
	config      Config
	authorities *Authorities
	member      *etcd.Member
	certificate *peerCertificate // nil when the member is alone
	sealing     *sealing
	fairness    *fairness.Fairness
	audit       *audit.Log
	backend     *timedBackend
	store       *store.Store
	table       *kinds.Table
	catalog     *custom.Catalog // with the internal kinds
	visible     *custom.Catalog
	follower    *custom.Follower
	path        *write.Path
	webhooks    *webhook.Webhooks
	schemas     *openapi.Handler
	peers       *inproc.Server
	identify    *authn.Authenticator
	connector   *connect.Connector
	usage       *usage.Source
	issuers     *oidc.Issuers // nil: there are none
	listener    net.Listener
	http        *http.Server

	bootstrapped, stopping atomic.Bool // for the checks of health

	stop    context.CancelFunc // ends what serve runs
	serving *errgroup.Group
}

// dataFormat is the version of what the server writes below its data directory.
const dataFormat = 1

// stopPatience is how long requests may take to end when the server stops.
const stopPatience = 5 * time.Second

// Start makes a server that answers when Start returns. ctx bounds the start
// only; Run serves on until its own context ends.
func Start(ctx context.Context, config Config) (*Server, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	if err := dataformat.Check(config.DataDir, "server", dataFormat); err != nil {
		return nil, err
	}
	authorities, err := LoadAuthorities(config.DataDir, config.Clock)
	if err != nil {
		return nil, err
	}
	s := &Server{config: config, authorities: authorities}
	if err := s.start(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	if err := s.listen(); err != nil {
		return err
	}
	if err := s.openStore(ctx); err != nil {
		return err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.serving, background = errgroup.WithContext(background)
	s.serving.Go(func() error { return s.store.Run(background) })
	s.serving.Go(func() error { return s.sealing.ring.Follow(background, s.sealing.path, s.config.Logger) })
	if s.certificate != nil {
		s.serving.Go(func() error { return s.certificate.Run(background) })
	}
	if err := s.openCatalog(); err != nil {
		return err
	}
	var err error
	if s.audit, err = openAudit(&s.config); err != nil {
		return err
	}
	s.serving.Go(func() error { return s.audit.Run(background) })
	if err := s.openIssuers(background); err != nil {
		return err
	}
	handler, err := s.assemble()
	if err != nil {
		return err
	}
	if err := s.followDefinitions(background); err != nil {
		return err
	}
	if err := s.followCertificates(background); err != nil {
		return err
	}
	if s.certificate != nil {
		if err := s.watchOthers(background); err != nil {
			return fmt.Errorf("watch what other servers write: %w", err)
		}
	}
	if err := s.bootstrap(ctx); err != nil {
		return fmt.Errorf("write what every cluster begins with: %w", err)
	}
	s.bootstrapped.Store(true)
	if s.config.Prepare != nil {
		if err := s.config.Prepare(ctx, s); err != nil {
			return err
		}
	}
	s.serving.Go(func() error { s.finishRotation(background); return nil })
	s.serving.Go(func() error { return s.keepFair(background) })
	s.serving.Go(func() error { return s.checkTypes(background) })
	// The first write would wait for the schemas otherwise.
	s.serving.Go(func() error { s.path.Fields.Warm(); return nil })
	s.http = rest.Server(handler, s.authorities.serving(&s.config), s.config.Logger)
	s.serving.Go(func() error {
		if err := s.http.ServeTLS(s.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve HTTPS on %s: %w", s.listener.Addr(), err)
		}
		return nil
	})
	return nil
}

// listen comes first: a port that is taken is the commonest mistake, and the
// certificate must name the address.
func (s *Server) listen() error {
	listener, err := net.Listen("tcp", s.config.Listen.String())
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	s.listener = listener
	s.config.Listen = netip.MustParseAddrPort(listener.Addr().String())
	return nil
}

func (s *Server) openStore(ctx context.Context) error {
	member := s.config.Etcd
	member.DataDir, member.Logger = filepath.Join(s.config.DataDir, "etcd"), s.config.Logger
	var err error
	// Before the member, which waits for a quorum: whoever brings up the others
	// gives them this server's key.
	if s.sealing, err = openSealing(&s.config); err != nil {
		return err
	}
	if member.PeerURL != "" && member.PeerTLS == nil {
		if s.certificate, err = newPeerCertificate(s.authorities, s.config.DataDir, member.Name, member.PeerURL); err != nil {
			return err
		}
		member.PeerTLS = &s.certificate.files
	}
	if s.member, err = etcd.Start(ctx, member); err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	s.usage = usage.New(func(ctx context.Context, node string) ([]byte, error) { return s.connector.Usage(ctx, node) }, s.config.Clock, s.config.Logger)
	rows := slices.Concat(kinds.All(), []*kind.Kind{admission.RangeKind()}, s.usage.Kinds(), s.config.Kinds)
	withIndexes(rows)
	if s.table, err = kinds.New(rows); err != nil {
		return err
	}
	resources := make([]store.Resource, len(rows))
	for i, k := range rows {
		resources[i] = store.Resource{Resource: k.Resource(), Prefix: "/registry/" + k.StoragePrefix + "/", Namespaced: k.Namespaced,
			Encode: k.Encode, Decode: k.Decode, Indexes: k.Indexes}
	}
	s.backend = newTimedBackend(store.NewEtcd(s.member.Client()), resourcesByKey(resources), s.config.Clock.Now)
	s.store, err = store.Open(ctx, store.Config{Backend: s.backend, Resources: resources, Sealer: s.sealing.ring, Logger: s.config.Logger, Clock: s.config.Clock})
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	return s.sealing.check(s.store.Snapshot())
}

// assemble makes write path, in-process server and HTTP handler.
func (s *Server) assemble() (http.Handler, error) {
	scheme, err := kinds.Scheme()
	if err != nil {
		return nil, err
	}
	for _, add := range s.config.Types {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register API types: %w", err)
		}
	}
	log := s.config.Logger
	admitted := newAdmissionMetrics()
	s.webhooks = webhook.New(authorizer{}, admitted, log)
	fields := fieldmanager.New(scheme)
	steps := append([]write.Step{custom.Definitions()}, admission.Steps(admission.Config{ServiceCIDR: s.config.ServiceCIDR, SecondaryServiceCIDR: s.config.SecondaryServiceCIDR,
		ExternalIPs: s.config.ExternalIPs, PodSecurity: s.config.PodSecurity, Limited: s.config.limited, Pressure: s.store.Pressure, Webhooks: s.webhooks,
		Policies: policy.New(policy.Config{Authorizer: authorizer{}, Meter: admitted, ByGVK: s.catalog.ByGVK, Types: fields.Types, Scheme: scheme})})...)
	admitted.over(steps)
	s.path, err = write.New(write.Config{Store: write.OnStore(s.store), Kinds: s.table.All(), Custom: s.catalog, Authorizer: authorizer{}, Scheme: scheme,
		Meter: admitted, Steps: steps, Fields: fields, Clock: s.config.Clock, Log: log})
	if err != nil {
		return nil, err
	}
	issuer := s.config.issuer()
	audiences := []string{issuer, "https://kubernetes.default.svc"}
	tokens, err := authn.NewServiceAccountTokens(issuer, audiences, s.authorities.ServiceAccounts, s.config.Clock)
	if err != nil {
		return nil, err
	}
	audits := auditor{s.audit, s.config.Clock.Now}
	if s.peers, err = inproc.New(inproc.Config{Audit: audits, Store: s.store, Write: s.path, Scheme: scheme, Tokens: tokens, Custom: s.catalog, Log: log}); err != nil {
		return nil, err
	}
	s.identify = authn.New(authn.Config{Clients: s.authorities.Client.Pool(), FrontProxy: s.authorities.FrontProxy.Pool(), ServiceAccounts: tokens, Issuers: s.foreign(), Audiences: audiences, Clock: s.config.Clock})
	catalog, err := discovery.New(s.served(), s.defined, rest.VirtualResources())
	if err != nil {
		return nil, err
	}
	s.schemas, err = openapi.New(s.served(), s.defined, rest.VirtualResources(), scheme, rest.Version().GitVersion, log)
	if err != nil {
		return nil, err
	}
	verifiers, err := tokens.IssuerHandler()
	if err != nil {
		return nil, err
	}
	if s.fairness, err = fairness.New(fairness.Config{Seats: s.config.Seats, Log: log}); err != nil {
		return nil, err
	}
	requests := newRequestMetrics(audits, func(r schema.GroupVersionResource) bool {
		_, ok := s.visible.ByGVR(s.store.Snapshot(), r)
		return ok
	}, s.config.Clock.Now)
	metrics, err := metricsHandler(requests, s.fairness, s.store, s.audit, s.gathered(), slices.Concat(s.backend.collectors(), admitted.collectors(), s.config.Collectors)...)
	if err != nil {
		return nil, err
	}
	s.connector = connect.New(connect.Config{View: func() txn.View { return s.store.Snapshot() }, Agents: s.authorities.ToNodes(),
		Own: netip.AddrPortFrom(s.config.Advertise, s.config.Listen.Port()), Log: log})
	api, err := rest.New(rest.Config{
		Turns: turns{s.fairness}, Auditor: requests, Metrics: metrics, Inside: requests.inside, Watched: requests.watched, Listed: requests.listed, Checked: requests.checked,
		Log: log, Clock: s.config.Clock, Kinds: s.visible, Scheme: scheme, Reader: s.store, Writer: s.path,
		Authenticator: s.identify, Bind: s.bind, Authorizer: authorizer{}, Anonymous: s.anonymous, Issuer: tokens,
		Rules:     rulesOf,
		Connector: s.connector,
		Discovery: catalog, OpenAPI: s.schemas, Tokens: verifiers, Checks: s.checks(),
		Paths: map[string]http.Handler{EncryptionPath + "/": http.HandlerFunc(s.serveEncryption), fairness.DumpPath: s.fairness},
	})
	if err != nil {
		return nil, err
	}
	if api.Txn, err = txnhttp.New(txnhttp.Config{DB: s.path, Authorizer: authorizer{}, Codec: remote.Codec{Scheme: scheme}, Identity: rest.IdentityFrom, Fail: api.Fail, Log: log,
		Committed: func(w http.ResponseWriter, result *txn.Result, done *txn.Committed, err error) {
			audits.CommittedOver(w, result, s.path.Told(result), done, err)
		}}); err != nil {
		return nil, err
	}
	return beside(s.config.Routes, api), nil
}

// beside serves the routes, each by its exact path or, when that ends with a
// slash, everything below it, and all else by the API. An http.ServeMux would send who asks for a path with ".." in it to
// another one, and clean what is proxied.
func beside(routes map[string]http.Handler, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for path, h := range routes {
			if r.URL.Path == path || strings.HasSuffix(path, "/") && strings.HasPrefix(r.URL.Path, path) {
				h.ServeHTTP(w, r)
				return
			}
		}
		api.ServeHTTP(w, r)
	})
}

// Run serves until ctx ends or a part fails, and stops in good order.
func (s *Server) Run(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.serving.Wait() }()
	memberFailed := make(chan error, 1)
	memberCtx, stopMember := context.WithCancel(context.WithoutCancel(ctx))
	defer stopMember()
	go func() { memberFailed <- s.member.Run(memberCtx) }()
	var err error
	select {
	case <-ctx.Done():
		s.announceStop(failed, memberFailed)
	case err = <-failed:
		failed <- err
	case err = <-memberFailed:
		memberFailed <- nil
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	if s.http.Shutdown(deadline) != nil {
		_ = s.http.Close() // watches never end by themselves
	}
	s.webhooks.Close()
	s.stop()
	err = errors.Join(err, <-failed)
	stopMember()
	return errors.Join(err, <-memberFailed)
}

// close undoes a start that did not succeed.
func (s *Server) close() {
	if s.stop != nil {
		s.stop()
		_ = s.serving.Wait() // the start's own error says what happened
	}
	if s.member != nil {
		s.member.Close()
	}
	if s.listener != nil {
		_ = s.listener.Close()
	}
}

// Peer gives an identity its access in process.
func (s *Server) Peer(identity txn.Identity) *inproc.Peer { return s.peers.For(identity) }

// Identify tells who sent a request, for Routes.
func (s *Server) Identify(r *http.Request) (txn.Identity, bool, error) {
	return s.identify.Authenticate(s.store.Snapshot(), r)
}

// Authorize decides for somebody outside the API, such as an agent's server.
func (s *Server) Authorize(identity txn.Identity, a authz.Attributes) bool {
	allowed, _ := authz.Authorizer{}.Authorize(s.store.Snapshot(), identity, a)
	return allowed
}

// LastLines gives an identity the last lines of a container's log, or with
// previous of the container before it.
func (s *Server) LastLines(ctx context.Context, identity txn.Identity, namespace, pod, container string, previous bool, lines int) ([]string, error) {
	if !s.Authorize(identity, authz.Attributes{Verb: "get", Version: "v1", Resource: "pods", Subresource: "log", Namespace: namespace, Name: pod}) {
		return nil, fmt.Errorf("%s may not read the log of pod %s/%s", identity.Name, namespace, pod)
	}
	return s.connector.Lines(ctx, namespace, pod, container, previous, lines)
}

// Authorities are the cluster's.
func (s *Server) Authorities() *Authorities { return s.authorities }

// Kinds is the table of what is served.
func (s *Server) Kinds() *kinds.Table { return s.table }

// ClusterDomain is the domain of the cluster's names.
func (s *Server) ClusterDomain() string { return s.config.ClusterDomain }

// DNSAddress is where every node answers cluster DNS.
func (s *Server) DNSAddress() netip.Addr {
	return ServiceAddress(s.config.ServiceCIDR, DNSServiceIndex)
}

// Address is where HTTPS is served.
func (s *Server) Address() netip.AddrPort { return s.config.Listen }

// Alone tells whether this is the only server now.
func (s *Server) Alone() bool { return s.member.Alone() }

// Internal tells whether a kind of the table is the server's own bookkeeping,
// which no client sees.
func Internal(k *kind.Kind) bool { return k.Resource() == admission.RangeKind().Resource() }

// ClientTLS is what a component outside needs to believe this server.
func (a *Authorities) ClientTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.API.Pool(), ServerName: "kubernetes.default.svc"}
}
