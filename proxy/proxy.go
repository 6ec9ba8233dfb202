package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/proxy/dns"
	"github.com/headway-sh/headway/proxy/iptables"
	"github.com/headway-sh/headway/proxy/model"
)

// Config says what a Proxy serves and where.
type Config struct {
	// Cache watches Services and EndpointSlices; somebody else starts it.
	Cache cache.Cache
	// NodeName decides which endpoints are local.
	NodeName string
	// ClusterCIDR holds the pods' addresses of all nodes.
	ClusterCIDR netip.Prefix
	// Own are service addresses that this node answers itself, such as cluster
	// DNS's: they get no rules.
	Own []netip.Addr
	// Kernel is the edge to the kernel's rules.
	Kernel iptables.Kernel
	// Zone answers cluster DNS; nil: no DNS is kept.
	Zone   *dns.Zone
	Clock  clock.Clock
	Logger *slog.Logger
}

// retryDelay is how long a failed write of rules waits for the next try.
const retryDelay = time.Second

// Proxy keeps one node's service rules.
type Proxy struct {
	config  Config
	tracker *tracker
	table   *iptables.Table
	ports   map[types.NamespacedName][]model.ServicePort
	// Synced is closed after the first complete write of rules.
	synced chan struct{}
}

// New returns a Proxy.
func New(config Config) (*Proxy, error) {
	if config.Cache == nil || config.Kernel == nil || config.NodeName == "" || config.Logger == nil || config.Clock == nil {
		return nil, errors.New("proxy: Cache, Kernel, NodeName, Clock and Logger are needed")
	}
	return &Proxy{config: config, tracker: newTracker(), table: iptables.NewTable(config.Kernel),
		ports: map[types.NamespacedName][]model.ServicePort{}, synced: make(chan struct{})}, nil
}

// Synced is closed once the rules have been written for the first time.
func (p *Proxy) Synced() <-chan struct{} { return p.synced }

// Run keeps the rules until ctx ends. The rules stay in the kernel, so that
// services work on while the proxy is away; iptables.Remove takes them out.
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
	for _, c := range p.tracker.take() {
		if p.config.Zone != nil {
			p.config.Zone.Set(c.key, c.service, c.slices)
		}
		if c.service == nil {
			delete(p.ports, c.key)
			continue
		}
		ports := model.Ports(c.service, c.slices, p.config.NodeName, corev1.IPv4Protocol)
		if len(ports) > 0 && !slices.Contains(p.config.Own, ports[0].ClusterIP) {
			p.ports[c.key] = ports
		} else {
			delete(p.ports, c.key)
		}
	}
	return p.table.Sync(ctx, p.state())
}

func (p *Proxy) state() iptables.State {
	s := iptables.State{Cluster: p.config.ClusterCIDR}
	for _, ports := range p.ports {
		s.Ports = append(s.Ports, ports...)
		for i := range ports {
			for _, to := range ports[i].Local {
				s.Hairpins = append(s.Hairpins, to.Addr())
			}
		}
	}
	slices.SortFunc(s.Ports, func(a, b model.ServicePort) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	slices.SortFunc(s.Hairpins, netip.Addr.Compare)
	s.Hairpins = slices.Compact(s.Hairpins)
	return s
}
