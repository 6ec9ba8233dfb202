// Package reconciler runs the controllers: each watches some kinds and writes
// some others until they are as wanted. The list of all of them is in list.go.
package reconciler

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/events"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/csr"
	"github.com/headway-sh/headway/reconciler/nodelife"
)

// Config is what the controllers are made of.
type Config struct {
	// ClientFor gives the client of a service account in kube-system, such as
	// "deployment-controller". It must read its own writes, and its writes carry
	// the epoch. When nil, Client serves all of them.
	ClientFor func(account string) client.Client
	Client    client.Client
	// TxnFor gives the same account's access to transactions, for what is
	// written many at once; nil: everything is written one by one.
	TxnFor func(account string) txn.Interface
	// Cache tells about changes to all kinds that are reconciled.
	Cache  cache.Cache
	Clock  clock.WithTicker
	Logger *slog.Logger

	// Controllers says what runs, by the names in the list: "*" stands for all
	// and "-name" takes one out. Empty means all.
	Controllers []string

	// Workers is how many objects a controller of the list looks after at a
	// time, for those that are to differ; FirstRetry and LastRetry bound the
	// wait of what has failed, 0: as the controllers have it.
	Workers               map[string]int
	FirstRetry, LastRetry time.Duration
	// Metrics count; nil: nobody does.
	Metrics *controller.Metrics
	// Eviction is how fast pods of lost nodes are evicted; the zero value means
	// Kubernetes' defaults.
	Eviction nodelife.Eviction

	// RootCA is the PEM of the API server's CA; empty: it is not published.
	RootCA string
	// Signer signs the certificates of nodes; nil: nobody does.
	Signer csr.Signer
	// Liveness knows which nodes the servers hear; nil: no node is found lost.
	Liveness nodelife.Liveness
	// ClusterCIDRs are what nodes get their pod ranges from, one of each family;
	// none: they get none.
	ClusterCIDRs []netip.Prefix
	// TerminatedPods is how many ended pods stay; 0: podgc.DefaultTerminated.
	TerminatedPods int
	// Kinds are all kinds whose owners are honoured, asked at the start.
	Kinds []schema.GroupVersionKind
	// NamespacedKinds gives the kinds whose objects go with their namespace,
	// asked each time; nil: those of Kinds that the client says are namespaced.
	NamespacedKinds func() []schema.GroupVersionKind
}

// Validate tells what is missing or unknown.
func (c Config) Validate() error {
	if c.Cache == nil || c.Client == nil && c.ClientFor == nil {
		return errors.New("reconciler: a cache and a client are needed")
	}
	if c.RootCA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(c.RootCA)) {
		return errors.New("reconciler: root CA is no PEM certificate")
	}
	return c.Settings()
}

// Settings tells what is wrong with what an operator can set.
func (c Config) Settings() error {
	for _, name := range c.Controllers {
		name = strings.TrimPrefix(name, "-")
		if name != "*" && !slices.ContainsFunc(list, func(e entry) bool { return e.name == name }) {
			return fmt.Errorf("reconciler: no controller %q", name)
		}
	}
	for name, n := range c.Workers {
		if !slices.ContainsFunc(list, func(e entry) bool { return e.name == name }) {
			return fmt.Errorf("reconciler: no controller %q", name)
		}
		if n < 1 {
			return fmt.Errorf("reconciler: controller %q needs a worker, not %d", name, n)
		}
	}
	if c.FirstRetry < 0 || c.LastRetry < 0 || c.LastRetry > 0 && c.LastRetry < c.FirstRetry {
		return errors.New("reconciler: the last wait before a retry must not be below the first")
	}
	if err := c.Eviction.Validate(); err != nil {
		return fmt.Errorf("reconciler: %w", err)
	}
	return nil
}

// Reconciler runs the controllers; see New.
type Reconciler struct{ config Config }

// New returns a reconciler that has not started.
func New(config Config) (*Reconciler, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.ClientFor == nil {
		config.ClientFor = func(string) client.Client { return config.Client }
	}
	if config.TxnFor == nil {
		config.TxnFor = func(string) txn.Interface { return nil }
	}
	if config.NamespacedKinds == nil {
		config.NamespacedKinds = config.namespaced
	}
	return &Reconciler{config}, nil
}

func (c Config) namespaced() []schema.GroupVersionKind {
	asking := c.ClientFor("namespace-controller")
	return slices.DeleteFunc(slices.Clone(c.Kinds), func(kind schema.GroupVersionKind) bool {
		namespaced, err := asking.IsObjectNamespaced(controller.NewObject(asking, kind))
		return err != nil || !namespaced
	})
}

// enabled applies the list of wanted and unwanted names, the last one counts.
func (c Config) enabled(name string) bool {
	on := !slices.ContainsFunc(c.Controllers, func(s string) bool { return !strings.HasPrefix(s, "-") })
	for _, s := range c.Controllers {
		switch s {
		case "*", name:
			on = true
		case "-" + name:
			on = false
		}
	}
	return on
}

// Run runs the controllers until ctx ends, and then returns nil; the first one
// that cannot go on ends all of them.
func (r *Reconciler) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	var stops []func()
	defer func() {
		cancel()
		for _, stop := range slices.Backward(stops) {
			stop()
		}
	}()
	starts := map[string]controller.Runnable{}
	for _, e := range list {
		if !r.config.enabled(e.name) {
			continue
		}
		c := r.config.ClientFor(e.account)
		db := r.config.TxnFor(e.account)
		recorder, stop := events.New(ctx, e.account, c, db, r.config.Clock, r.config.Logger)
		stops = append(stops, stop)
		deps := controller.Deps{Client: c, Txn: db, Cache: r.config.Cache, Clock: r.config.Clock, Logger: r.config.Logger, Events: recorder, Metrics: r.config.Metrics,
			Tuning: controller.Tuning{Workers: r.config.Workers[e.name], FirstRetry: r.config.FirstRetry, LastRetry: r.config.LastRetry}}
		runnable, err := e.new(deps, r.config)
		if err != nil {
			return fmt.Errorf("make controller %q: %w", e.name, err)
		}
		if runnable != nil { // else the configuration gives it nothing to do
			starts[e.name] = runnable
		}
	}
	for name, runnable := range starts {
		group.Go(func() error {
			if err := runnable.Start(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("controller %q: %w", name, err)
			}
			return nil
		})
	}
	return group.Wait()
}
