package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/proxy/conntrack"
	"github.com/headway-sh/headway/proxy/dns"
	"github.com/headway-sh/headway/proxy/healthcheck"
	"github.com/headway-sh/headway/proxy/model"
	"github.com/headway-sh/headway/proxy/rules"
)

// Config says what a Proxy serves and where.
type Config struct {
	// Cache watches Services and EndpointSlices; somebody else starts it.
	Cache cache.Cache
	// NodeName decides which endpoints are local.
	NodeName string
	// NodeLabels are the Node's labels as they are now, for its zone; nil: the
	// zone is not known.
	NodeLabels func() map[string]string
	// Own are service addresses that this node answers itself, such as cluster
	// DNS's: they get no rules.
	Own []netip.Addr
	// Backends keep the rules, one for each address family that is served.
	Backends map[corev1.IPFamily]rules.Backend
	// Flows forgets clients of UDP endpoints that are gone; nil: nobody does.
	Flows Flows
	// Health answers load balancers; nil: nobody does.
	Health *healthcheck.Server
	// Zone answers cluster DNS; nil: no DNS is kept.
	Zone   *dns.Zone
	Clock  clock.Clock
	Logger *slog.Logger
}

// Flows is the edge to the kernel's memory of connections.
type Flows interface {
	// Forget ends the UDP flows to what is no longer an endpoint of the rows.
	Forget(rows []rules.Row, ipv6 bool) error
}

// retryDelay is how long a failed write of rules waits for the next try.
const retryDelay = time.Second

// Proxy keeps one node's service rules.
type Proxy struct {
	config  Config
	tracker *tracker
	node    model.Node
	// stale are the rows whose flows are to be looked through after the next write.
	stale map[corev1.IPFamily][]rules.Row
	named bool // whether the zone has heard of every Service
	// Synced is closed after the first complete write of rules.
	synced chan struct{}
}

// New returns a Proxy.
func New(config Config) (*Proxy, error) {
	if config.Cache == nil || len(config.Backends) == 0 || config.NodeName == "" || config.Logger == nil || config.Clock == nil {
		return nil, errors.New("proxy: Cache, Backends, NodeName, Clock and Logger are needed")
	}
	return &Proxy{config: config, tracker: newTracker(), node: model.Node{Name: config.NodeName}, stale: map[corev1.IPFamily][]rules.Row{}, synced: make(chan struct{})}, nil
}

// Synced is closed once the rules have been written for the first time.
func (p *Proxy) Synced() <-chan struct{} { return p.synced }

// Run keeps the rules until ctx ends. The rules stay in the kernel, so that
// services work on while the proxy is away; the backend's Remove takes them out.
func (p *Proxy) Run(ctx context.Context) error {
	if err := p.watch(ctx); err != nil {
		return err
	}
	retry := p.config.Clock.NewTimer(retryDelay)
	retry.Stop()
	defer retry.Stop()
	p.tracker.nudge() // the first sync happens even without any Service
	for first := true; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-p.tracker.wake:
		case <-retry.C():
		}
		if err := p.sync(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			p.config.Logger.Error("service rules not written; trying again", "error", err)
			retry.Reset(retryDelay)
			continue
		}
		if first {
			first = false
			close(p.synced)
		}
	}
}

// watch feeds the tracker and waits until it has seen everything once.
func (p *Proxy) watch(ctx context.Context) error {
	services := handler(func(s *corev1.Service, gone bool) {
		key := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
		if gone {
			s = nil
		}
		p.tracker.service(key, s)
	})
	endpoints := handler(p.tracker.endpointSlice)
	for _, w := range []struct {
		kind    client.Object
		handler toolscache.ResourceEventHandler
	}{{&corev1.Service{}, services}, {&discoveryv1.EndpointSlice{}, endpoints}} {
		informer, err := p.config.Cache.GetInformer(ctx, w.kind)
		if err != nil {
			return fmt.Errorf("watch %T: %w", w.kind, err)
		}
		registration, err := informer.AddEventHandler(w.handler)
		if err != nil {
			return fmt.Errorf("watch %T: %w", w.kind, err)
		}
		if !toolscache.WaitFor(ctx, "", registration.HasSyncedChecker()) {
			return nil
		}
	}
	return nil
}

// handler adapts f to informer events of one type.
func handler[T any](f func(o T, gone bool)) toolscache.ResourceEventHandler {
	typed := func(o any, gone bool) {
		if tombstone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = tombstone.Obj
		}
		if t, ok := o.(T); ok {
			f(t, gone)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { typed(o, false) },
		UpdateFunc: func(_, o any) { typed(o, false) },
		DeleteFunc: func(o any) { typed(o, true) },
	}
}

// sync takes what has changed and brings zone and rules up to it.
func (p *Proxy) sync(ctx context.Context) error {
	p.lookAtNode()
	for _, c := range p.tracker.take() {
		if p.config.Zone != nil {
			p.config.Zone.Set(c.key, c.service, c.slices)
		}
		for family, backend := range p.config.Backends {
			var ports []model.ServicePort
			if c.service != nil {
				ports = model.Ports(c.service, c.slices, p.node, family)
			}
			update := rules.UpdateOf(c.key.String(), ports, p.config.Own)
			backend.Set(update)
			if p.config.Flows != nil && conntrack.HasUDP(update.Rows) {
				p.stale[family] = append(p.stale[family], update.Rows...)
			}
		}
		p.health(&c)
	}
	if p.config.Zone != nil && !p.named {
		p.named = true
		p.config.Zone.Ready()
	}
	var errs []error
	for family, backend := range p.config.Backends {
		if err := backend.Sync(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", family, err))
			continue
		}
		p.forget(family)
	}
	return errors.Join(errs...)
}

// forget ends flows that the new rules would not make. It does not hold up
// rules: what it fails at is left to the flows' own end.
func (p *Proxy) forget(family corev1.IPFamily) {
	if len(p.stale[family]) == 0 {
		return
	}
	if err := p.config.Flows.Forget(p.stale[family], family == corev1.IPv6Protocol); err != nil {
		p.config.Logger.Warn("UDP clients of endpoints that are gone may go on sending to them", "error", err)
	}
	delete(p.stale, family)
}

// health opens and closes a Service's health check port.
func (p *Proxy) health(c *change) {
	if p.config.Health == nil {
		return
	}
	port, ready := uint16(0), 0
	if c.service != nil && c.service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		port, ready = uint16(c.service.Spec.HealthCheckNodePort), model.ReadyHere(c.slices, p.node)
	}
	if err := p.config.Health.Set(c.key, port, ready); err != nil {
		p.config.Logger.Warn("a load balancer cannot check this node", "service", c.key.String(), "error", err)
	}
}

// lookAtNode takes a changed zone up: hints then mean other endpoints.
func (p *Proxy) lookAtNode() {
	if p.config.NodeLabels == nil {
		return
	}
	if zone := p.config.NodeLabels()[corev1.LabelTopologyZone]; zone != p.node.Zone {
		p.node.Zone = zone
		p.tracker.markAll()
	}
}
