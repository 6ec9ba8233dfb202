package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/admission"
	"github.com/headway-sh/headway/apiserver/audit"
	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/internal/awake"
	"github.com/headway-sh/headway/internal/pki"
	"github.com/headway-sh/headway/membership"
	"github.com/headway-sh/headway/membership/heartbeat"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/scheduler"
	schedconfig "github.com/headway-sh/headway/scheduler/config"
)

// defaultPodCIDR is where pods' addresses come from.
const defaultPodCIDR = "10.244.0.0/16"

// serverOptions are the flags of `headway server`.
type serverOptions struct {
	dataDir, bind, advertise string
	port                     uint16
	names                    []string
	clusterName              string
	podCIDR, serviceCIDR     string
	repo, branch, path       string
	nodeName                 string
	disable                  []string
	runtimeEndpoint, cgroup  string
	pods                     podOptions
	gitToken, gitCA, ageKey  string
	gitKey, gitKnownHosts    string
	gossipPort               uint16
	encryption               string
	authentication           string
	audit                    apiserver.AuditConfig
	admission                string
	schedulerConfig          string
	scheduler                schedconfig.Settings
	controllers              controllerOptions
	externalIPs              []string
	readsInFlight            int
	writesInFlight           int
	shutdownDelay            time.Duration
	etcd                     etcdOptions
	node                     nodeFlags
}

func serverCommand() *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the control plane, and a node agent unless it is disabled",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			collectSeldom()
			log, err := logger(cmd)
			if err != nil {
				return err
			}
			return runServer(cmd.Context(), o, log)
		},
	}
	logFlags(cmd)
	o.flags(cmd.Flags())
	return cmd
}

// flags puts the options on a command line.
func (o *serverOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.dataDir, "data-dir", defaultDataDir, "where everything is kept")
	f.StringVar(&o.bind, "bind-address", "0.0.0.0", "address to serve the API on")
	f.StringVar(&o.advertise, "advertise-address", "", "address that agents and pods reach the API by (default: the bind address, or the one of the default route)")
	f.Uint16Var(&o.port, "https-port", apiserver.DefaultPort, "port to serve the API on")
	f.StringSliceVar(&o.names, "tls-name", nil, "further host names of the API's certificate")
	f.StringVar(&o.clusterName, "cluster-name", apiserver.DefaultClusterName, "name of the cluster, also of its report branch")
	f.StringVar(&o.podCIDR, "pod-cidr", defaultPodCIDR, "range of the pods' addresses; two of different IP families, separated by a comma, for pods with an address of each")
	f.StringVar(&o.serviceCIDR, "service-cidr", admission.DefaultServiceCIDR, "range of the services' addresses; two of different IP families, separated by a comma, for dual-stack services")
	f.StringVar(&o.repo, "repo", "", "git repository to follow: a path or an https:// URL")
	f.StringVar(&o.branch, "branch", "", "branch to follow (default: the repository's own)")
	f.StringVar(&o.path, "path", "", "directory of the repository to apply (default: all of it)")
	f.StringVar(&o.gitToken, "git-token", "", "file with the token for an https:// repository")
	f.StringVar(&o.gitCA, "git-ca", "", "file with the certificate authority of an https:// repository")
	f.StringVar(&o.gitKey, "git-key", "", "file with the private key for an ssh:// repository")
	f.StringVar(&o.gitKnownHosts, "git-known-hosts", "", "file with the public keys of the hosts of ssh:// repositories, as ssh-keyscan prints them")
	f.StringVar(&o.ageKey, "age-key", "", "file with age keys that open the encrypted files of repositories")
	f.StringVar(&o.nodeName, "node-name", "", "name of this machine's node (default: the host name)")
	f.StringVar(&o.runtimeEndpoint, "runtime-endpoint", "", "socket of a running containerd (default: an own one)")
	f.StringVar(&o.cgroup, "cgroup", defaultCgroup, "control group below which everything runs")
	f.Uint16Var(&o.gossipPort, "gossip-port", defaultGossipPort, "port for gossip among the machines, TCP and UDP")
	f.StringVar(&o.encryption, "encryption-provider-config", "", "file with an EncryptionConfiguration (default: an own one, which seals Secrets)")
	f.StringVar(&o.authentication, "authentication-config", "", "file with an AuthenticationConfiguration: OpenID Connect issuers to believe, and what is answered without credentials (default: the cluster's own credentials only)")
	f.StringVar(&o.audit.Policy, "audit-policy-file", "", "file with an audit.k8s.io/v1 Policy (default: metadata of what people do and components change)")
	f.StringVar(&o.audit.Path, "audit-log-path", "", "file to write audit events to (default: audit/audit.log in the data directory)")
	f.IntVar(&o.audit.MaxSize, "audit-log-maxsize", apiserver.DefaultAuditMaxSize, "megabytes that the audit log grows to before it is rotated")
	f.IntVar(&o.audit.MaxBackups, "audit-log-maxbackup", apiserver.DefaultAuditMaxBackups, "how many rotated audit logs are kept; 0: all")
	f.IntVar(&o.audit.MaxAge, "audit-log-maxage", apiserver.DefaultAuditMaxAge, "days that rotated audit logs are kept; 0: forever")
	f.IntVar(&o.audit.MaxEvent, "audit-log-truncate-max-event-size", audit.DefaultMaxEvent, "bytes that the objects of an audit event may have, else it goes without them")
	f.StringVar(&o.admission, "admission-control-config-file", "", "file with an AdmissionConfiguration, for PodSecurity and ResourceQuota")
	f.StringVar(&o.schedulerConfig, "scheduler-config", "", "file with a KubeSchedulerConfiguration: profiles, scoring, back-off (default: Kubernetes' defaults)")
	f.StringSliceVar(&o.externalIPs, "allowed-external-ips", nil, "ranges that Services may claim externalIPs in (default: none)")
	f.IntVar(&o.readsInFlight, "max-requests-inflight", 400, "with the next one: how many requests are served at once")
	f.IntVar(&o.writesInFlight, "max-mutating-requests-inflight", 200, "with the one before: how many requests are served at once")
	f.DurationVar(&o.shutdownDelay, "shutdown-delay-duration", 0, "how long to go on serving when told to stop, while /readyz says so")
	o.etcd.flags(f)
	o.controllers.flags(f)
	o.node.flags(f)
	f.StringSliceVar(&o.disable, "disable", nil, "components not to run: reconciler, scheduler, gitsource, agent, proxy")
}

// gcPercent lets the heap of a server that is at work grow to three times of what
// is live before it is collected: half as much collecting, which is 10 to 15 % of
// a write. An agent has the runtime's own percentage.
const (
	gcPercent    = 200
	agentPercent = 100
)

// collectSeldom sets it, unless the environment has another word.
func collectSeldom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// components that --disable knows.
var optional = []string{"reconciler", "scheduler", "gitsource", "agent", "proxy"}

func (o *serverOptions) complete() error {
	for _, d := range o.disable {
		if !slices.Contains(optional, d) {
			return fmt.Errorf("--disable: there is no component %q (%s)", d, strings.Join(optional, ", "))
		}
	}
	var err error
	if o.schedulerConfig != "" {
		if o.scheduler, err = schedconfig.Load(o.schedulerConfig); err != nil {
			return fmt.Errorf("--scheduler-config: %w", err)
		}
	}
	if err := o.controllers.config().Settings(); err != nil {
		return err
	}
	if o.nodeName, err = nodeName(o.nodeName); err != nil {
		return err
	}
	if o.dataDir, err = filepath.Abs(o.dataDir); err != nil {
		return err
	}
	return o.node.complete(o.dataDir)
}

func (o *serverOptions) enabled(component string) bool { return !slices.Contains(o.disable, component) }

// server is the process under construction.
type server struct {
	options serverOptions
	api     *apiserver.Server
	beats   *heartbeat.Server
	gossip  *membership.Membership
	ring    atomic.Pointer[[][]byte] // the gossip keys in force
	started chan struct{}            // closed once api and gossip are there
	// observing says that a source's engine sees every write.
	observing atomic.Bool
	// sources, counted and scheduled are what the engine, the controllers and the
	// scheduler count, whether this server runs them or not.
	sources   *gitsource.Metrics
	counted   *controller.Metrics
	scheduled *scheduler.Metrics
	podCIDRs  []netip.Prefix
	services  netip.Prefix
	// secondServices is the range of the other IP family; invalid: there is none.
	secondServices netip.Prefix
	address        netip.Addr
	log            *slog.Logger
	clock          clock.WithTickerAndDelayedExecution
	awake          *awake.Clock // what nodes' silence is measured by
}

func runServer(ctx context.Context, o serverOptions, log *slog.Logger) error {
	if err := o.complete(); err != nil {
		return err
	}
	s := &server{options: o, log: log, clock: clock.RealClock{}, started: make(chan struct{}), sources: gitsource.NewMetrics(),
		counted: controller.NewMetrics(), scheduled: scheduler.NewMetrics()}
	if err := s.start(ctx); err != nil {
		return err
	}
	components, err := s.components(ctx)
	if err != nil {
		return err
	}
	return runAll(ctx, log, components)
}

// start brings the API up.
func (s *server) start(ctx context.Context) error {
	var err error
	if s.podCIDRs, err = podRanges(s.options.podCIDR); err != nil {
		return fmt.Errorf("--pod-cidr: %w", err)
	}
	first, second, two := strings.Cut(s.options.serviceCIDR, ",")
	if s.services, err = netip.ParsePrefix(first); err != nil {
		return fmt.Errorf("--service-cidr: %w", err)
	}
	if two {
		if s.secondServices, err = netip.ParsePrefix(second); err != nil {
			return fmt.Errorf("--service-cidr: %w", err)
		}
	}
	bind, err := netip.ParseAddr(s.options.bind)
	if err != nil {
		return fmt.Errorf("--bind-address: %w", err)
	}
	if s.address, err = advertised(s.options.advertise, bind); err != nil {
		return err
	}
	member, err := s.options.etcd.config(s.options.nodeName)
	if err != nil {
		return err
	}
	external, err := prefixes(s.options.externalIPs)
	if err != nil {
		return fmt.Errorf("--allowed-external-ips: %w", err)
	}
	s.awake = awake.New(s.clock, s.log)
	s.beats = heartbeat.NewServer(s.nodeOf, s.awake)
	s.api, err = apiserver.Start(ctx, apiserver.Config{
		DataDir: s.options.dataDir, Listen: netip.AddrPortFrom(bind, s.options.port), Advertise: s.address, Names: s.options.names,
		ServiceCIDR: s.services, SecondaryServiceCIDR: s.secondServices, ClusterName: s.options.clusterName, Etcd: member,
		EncryptionConfig: s.options.encryption, AdmissionConfig: s.options.admission, ExternalIPs: external,
		Audit: s.options.audit, AuthenticationConfig: s.options.authentication,
		Seats:         s.options.readsInFlight + s.options.writesInFlight,
		ShutdownDelay: s.options.shutdownDelay,
		Routes:        s.routes(), Collectors: []prometheus.Collector{s.sources, s.counted, s.scheduled, s.droppedGossip()}, Checks: s.checks(), Prepare: s.waysIn, Clock: s.clock, Logger: s.log,
	})
	if err != nil {
		return err
	}
	if err := s.listenGossip(ctx, bind); err != nil {
		return err
	}
	answerProbes(s.beats, s.gossip, s.log)
	close(s.started)
	return nil
}

// podRanges reads a range, or one of each family.
func podRanges(text string) ([]netip.Prefix, error) {
	all, err := prefixes(strings.Split(text, ","))
	if err != nil {
		return nil, err
	}
	if len(all) > 2 || len(all) == 2 && all[0].Addr().Is4() == all[1].Addr().Is4() {
		return nil, fmt.Errorf("%s: a range, or two of different IP families, are possible", text)
	}
	return all, nil
}

// prefixes reads ranges of addresses.
func prefixes(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// waysIn writes what people and agents reach the API by.
func (s *server) waysIn(ctx context.Context, api *apiserver.Server) error {
	if err := s.joinToken(ctx, api); err != nil {
		return fmt.Errorf("make the join token: %w", err)
	}
	return s.adminKubeconfig(api)
}

// adminKubeconfig writes the administrator's way in, anew at each start, so
// that its certificate is always young.
func (s *server) adminKubeconfig(api *apiserver.Server) error {
	a := api.Authorities()
	cert, key, err := a.UserCertificate("headway-admin", []string{"system:masters"}, 0)
	if err != nil {
		return err
	}
	host := api.Address().Addr()
	if host.IsUnspecified() {
		host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return writeKubeconfig(filepath.Join(s.options.dataDir, adminConfig), s.options.clusterName, "headway-admin", serverURL(host, api.Address().Port()), a.API.PEM, cert, key)
}

// joinToken makes the token that admits agents until it is revoked, once.
func (s *server) joinToken(ctx context.Context, api *apiserver.Server) error {
	path := filepath.Join(s.options.dataDir, "token")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	token, err := apiserver.NewJoinToken(0)
	if err != nil {
		return err
	}
	if err := api.Peer(apiserver.Masters).Client().Create(ctx, token.Object(s.clock.Now())); err != nil {
		return err
	}
	return pki.WriteFile(path, []byte(token.Text(api.Authorities())+"\n"), 0o600)
}

// peer gives a component its access under its own name.
func user(name string) txn.Identity {
	return txn.Identity{Name: name, Groups: []string{"system:authenticated"}}
}
