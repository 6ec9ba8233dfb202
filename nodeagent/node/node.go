package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	goruntime "runtime"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/nodeagent/follow"
)

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
	// heardPatience is how long a node that is ready again waits to be heard.
	heardPatience = 10 * time.Second
)

// Node keeps the agent's Node object.
type Node struct {
	Config
	group sync.WaitGroup
	wake  chan struct{}

	mu     sync.Mutex // guards all below
	last   *corev1.Node
	cidrs  []netip.Prefix
	others map[string]netip.AddrPort // where other nodes serve, by name
	// listing says that a whole list is being read: its end writes them down.
	listing bool
}

// New makes it; Run runs it.
func New(config Config) (*Node, error) {
	config.complete()
	if config.Name == "" || config.Client == nil || config.Network == nil || config.Images == nil || len(config.Addresses) == 0 {
		return nil, errors.New("node: name, addresses, client, network and images are needed")
	}
	return &Node{Config: config, wake: make(chan struct{}, 1), cidrs: config.PodCIDRs, others: readPeers(config.PeersFile)}, nil
}

// Changed asks for the status to be computed again, as after an image has come.
func (n *Node) Changed() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Allocatable is what pods may ask for in sum; nil before Run has begun.
func (n *Node) Allocatable() corev1.ResourceList {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last == nil {
		return nil
	}
	return maps.Clone(n.last.Status.Allocatable)
}

// NodeLabels are the Node's labels; nil before they are known.
func (n *Node) NodeLabels() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last == nil {
		return nil
	}
	return maps.Clone(n.last.Labels)
}

// Run registers the node and keeps it until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		n.group.Wait()
	}()
	n.group.Go(func() {
		follow.List(ctx, n.Client, n.Logger, &corev1.Node{}, func() client.ObjectList { return &corev1.NodeList{} },
			follow.Handler[*corev1.Node]{Replace: n.replace(ctx), Set: func(o *corev1.Node) { n.set(ctx, o) }, Delete: n.gone})
	})
	if n.Heartbeat != nil {
		n.group.Go(func() {
			if err := n.Heartbeat.Run(ctx, n.Name); err != nil && ctx.Err() == nil {
				n.Logger.Error("heartbeat ended", "err", err)
			}
		})
	}
	n.tell("Starting", "Starting kubelet.")
	n.Changed()
	ticker := n.Clock.NewTicker(n.Pressure)
	defer ticker.Stop()
	for {
		select {
		case <-n.wake:
		case <-ticker.C():
		case <-ctx.Done():
			return nil
		}
		n.sync(ctx)
	}
}

// sync writes the status until it is there.
func (n *Node) sync(ctx context.Context) {
	for delay := firstRetry; ; delay = min(2*delay, lastRetry) {
		err := n.once(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		n.Logger.Warn("node status not written", "err", err)
		select {
		case <-n.Clock.After(delay):
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) once(ctx context.Context) error {
	m, err := n.Machine(n.DataDir)
	if err != nil {
		return err
	}
	images, err := n.Images.ListImages(ctx)
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	n.mu.Lock()
	last := n.last
	n.mu.Unlock()
	have, err := n.registered(ctx, m, last)
	if err != nil {
		return err
	}
	// The network comes before the status, so that an agent which starts anew
	// does not take a node that was ready out of it.
	n.take(have)
	n.startNetwork(ctx)
	want := have.DeepCopy()
	want.Status = statusOf(&n.Config, m, images, n.Network.Ready(), &have.Status, n.Clock.Now())
	if !equality.Semantic.DeepEqual(have.Status, want.Status) {
		n.awaitHeard(ctx, have, want)
		if err := n.Client.Status().Patch(ctx, want, client.StrategicMergeFrom(have)); err != nil {
			if apierrors.IsNotFound(err) {
				n.forget()
			}
			return fmt.Errorf("patch status: %w", err)
		}
		n.tellConditions(have.Status.Conditions, want.Status.Conditions)
	}
	n.wrote(last, want)
	return nil
}

// awaitHeard holds back the word that a node is ready again until its beats are
// heard: the servers would take an unheard one out at once.
func (n *Node) awaitHeard(ctx context.Context, have, want *corev1.Node) {
	if n.Heartbeat == nil || isReady(have) || !isReady(want) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, heardPatience)
	defer cancel()
	if err := n.Heartbeat.Heard(ctx); err != nil {
		n.Logger.Info("no server hears the node; its status is told nevertheless", "err", err)
	}
}

func isReady(o *corev1.Node) bool {
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// wrote remembers what was written, unless the watch has told something since:
// that may be later, and asks for another look in any case.
func (n *Node) wrote(last, o *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last == last {
		n.last = o
	}
}

// registered gives the Node, made if it is not there. What others have set,
// such as unschedulable, taints and labels, stays.
func (n *Node) registered(ctx context.Context, m Machine, last *corev1.Node) (*corev1.Node, error) {
	if last != nil {
		return last, nil
	}
	have := &corev1.Node{}
	err := n.Client.Get(ctx, client.ObjectKey{Name: n.Name}, have)
	if apierrors.IsNotFound(err) {
		have.Name, have.Labels = n.Name, n.labels()
		have.Spec.Taints = n.Taints
		have.Status = statusOf(&n.Config, m, nil, n.Network.Ready(), &corev1.NodeStatus{}, n.Clock.Now())
		if err = n.Client.Create(ctx, have); err != nil {
			return nil, fmt.Errorf("register: %w", err)
		}
		n.tellConditions(nil, have.Status.Conditions)
		return have, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get node: %w", err)
	}
	want := have.DeepCopy()
	if want.Labels == nil {
		want.Labels = map[string]string{}
	}
	maps.Copy(want.Labels, n.labels())
	if !maps.Equal(have.Labels, want.Labels) {
		if err := n.Client.Patch(ctx, want, client.StrategicMergeFrom(have)); err != nil {
			return nil, fmt.Errorf("patch labels: %w", err)
		}
	}
	return want, nil
}

func (n *Node) labels() map[string]string {
	labels := maps.Clone(n.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[corev1.LabelHostname] = n.Name
	labels[corev1.LabelArchStable] = goruntime.GOARCH
	labels[corev1.LabelOSStable] = goruntime.GOOS
	return labels
}

func (n *Node) remember(o *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = o
}

func (n *Node) forget() { n.remember(nil) }

// replace is the whole list of nodes.
func (n *Node) replace(ctx context.Context) func([]*corev1.Node) {
	routed := map[string]bool{}
	return func(nodes []*corev1.Node) {
		named, self := map[string]bool{}, false
		n.list()
		for _, o := range nodes {
			self = self || o.Name == n.Name
			named[o.Name], routed[o.Name] = true, true
			n.set(ctx, o)
		}
		for name := range routed {
			if !named[name] {
				delete(routed, name)
				n.unknow(name)
				n.unroute(name)
			}
		}
		n.knowOnly(named)
		if !self {
			n.forget()
			n.Changed()
		}
	}
}

func (n *Node) set(_ context.Context, o *corev1.Node) {
	if o.Name != n.Name {
		n.know(o)
		n.route(o)
		return
	}
	n.remember(o)
	n.take(o)
	// Somebody may have written our fields: look, and write only if so.
	n.Changed()
}

// ranges are a node's pod ranges, one of each family.
func ranges(o *corev1.Node) []netip.Prefix {
	texts := o.Spec.PodCIDRs
	if len(texts) == 0 {
		texts = []string{o.Spec.PodCIDR}
	}
	var all []netip.Prefix
	for _, text := range texts {
		if cidr, err := netip.ParsePrefix(text); err == nil {
			all = append(all, cidr)
		}
	}
	return all
}

// take remembers the node's pod ranges, which never change, once it has some.
func (n *Node) take(o *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.cidrs) == 0 {
		n.cidrs = ranges(o)
	}
}

func (n *Node) gone(o *corev1.Node) {
	if o.Name == n.Name {
		n.forget()
		n.Changed()
		return
	}
	n.unknow(o.Name)
	n.unroute(o.Name)
}

func (n *Node) startNetwork(ctx context.Context) {
	n.mu.Lock()
	cidrs := n.cidrs
	n.mu.Unlock()
	if len(cidrs) == 0 || n.Network.Ready() {
		return
	}
	if err := n.Network.Start(ctx, cidrs); err != nil {
		n.Logger.Error("pod network not started", "cidrs", cidrs, "err", err)
	}
}

// route leads to another node's pods by its first internal address of their
// family, or by its first one.
func (n *Node) route(o *corev1.Node) {
	for _, cidr := range ranges(o) {
		via := netip.Addr{}
		for _, a := range o.Status.Addresses {
			at, err := netip.ParseAddr(a.Address)
			if err != nil || a.Type != corev1.NodeInternalIP {
				continue
			}
			if same := at.Is4() == cidr.Addr().Is4(); !via.IsValid() || same && via.Is4() != at.Is4() {
				via = at
			}
		}
		if !via.IsValid() {
			continue // it has told none yet
		}
		if err := n.Network.SetRoute(o.Name, cidr, via); err != nil {
			n.Logger.Error("route not set", "node", o.Name, "err", err)
		}
	}
}

func (n *Node) unroute(name string) {
	if err := n.Network.DeleteRoute(name); err != nil {
		n.Logger.Error("route not removed", "node", name, "err", err)
	}
}
