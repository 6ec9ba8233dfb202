package policy

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/podgroup"
	"github.com/headway-sh/headway/nodeagent/follow"
)

const (
	// retryDelay is how long a failed write waits for the next try.
	retryDelay = time.Second
	// knownPatience is how long a pod waits for policies to be known before it
	// is told so; it tries again.
	knownPatience = 10 * time.Second
)

// errUnknown says why a pod cannot start: nobody knows whether it is isolated.
var errUnknown = errors.New("the network policies are not known yet: no server has told this node of them")

// Config is what an Enforcer is made of.
type Config struct {
	// Client reads policies and slices as the node.
	Client client.WithWatch
	// Bridge is the pod network's.
	Bridge string
	// Kernels are those of the families that pods have addresses of, IPv4 first.
	Kernels []Kernel
	// File keeps the policies for a start without a server.
	File   string
	Clock  clock.WithTicker
	Logger *slog.Logger
}

// Enforcer holds this node's pods to the network policies. It is safe for
// concurrent use.
type Enforcer struct {
	config  Config
	sync    *Sync
	wake    chan struct{}
	adopted chan struct{}

	mu       sync.Mutex // guards what follows
	model    *Model
	pods     map[types.UID]Pod
	policies map[types.NamespacedName]*networkingv1.NetworkPolicy
	slices   map[string]*discoveryv1.EndpointSlice
	heard    map[string]bool // lists that have been heard, or read from the file
	waiting  []chan error    // each is told once of the next write of all there is
	unsaved  bool
	saved    time.Time
}

// New makes it; nothing is written before Run.
func New(config Config) (*Enforcer, error) {
	if config.Client == nil || config.Bridge == "" || len(config.Kernels) == 0 || config.File == "" || config.Clock == nil || config.Logger == nil {
		return nil, errors.New("network policies: client, bridge, kernels, file, clock and logger are needed")
	}
	return &Enforcer{config: config, sync: NewSync(config.Kernels...), wake: make(chan struct{}, 1), adopted: make(chan struct{}),
		model: NewModel(config.Bridge, len(config.Kernels) > 1), pods: map[types.UID]Pod{},
		policies: map[types.NamespacedName]*networkingv1.NetworkPolicy{}, slices: map[string]*discoveryv1.EndpointSlice{}, heard: map[string]bool{}}, nil
}

// The lists that have to be heard before anything is enforced.
const (
	policyList = "policies"
	sliceList  = "slices"
)

// Run enforces policies until ctx ends, and leaves what is in the kernel as it
// is. It begins when the pods of an earlier life have been adopted.
func (e *Enforcer) Run(ctx context.Context) error {
	if err := e.load(); err != nil {
		e.config.Logger.Warn("network policies of the last start not read", "err", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer func() {
		cancel()
		group.Wait()
	}()
	group.Go(func() {
		follow.List(ctx, e.config.Client, e.config.Logger, &networkingv1.NetworkPolicy{}, func() client.ObjectList { return &networkingv1.NetworkPolicyList{} },
			follow.Handler[*networkingv1.NetworkPolicy]{Replace: e.replacePolicies, Set: e.setPolicy, Delete: e.deletePolicy})
	})
	group.Go(func() {
		follow.List(ctx, e.config.Client, e.config.Logger, &discoveryv1.EndpointSlice{}, func() client.ObjectList { return &discoveryv1.EndpointSliceList{} },
			follow.Handler[*discoveryv1.EndpointSlice]{Replace: e.replaceSlices, Set: e.setSlice, Delete: e.deleteSlice},
			client.InNamespace(podgroup.Namespace), client.MatchingLabels{discoveryv1.LabelManagedBy: podgroup.ManagedBy})
	})
	select {
	case <-e.adopted:
	case <-ctx.Done():
		return nil
	}
	e.work(ctx)
	return nil
}

// work writes whenever something has changed.
func (e *Enforcer) work(ctx context.Context) {
	e.nudge() // the first write happens without a change: it repairs
	for {
		var retry <-chan time.Time
		if err := e.write(ctx); err != nil {
			e.config.Logger.Error("network policies not written; trying again", "err", err)
			retry = e.config.Clock.After(retryDelay)
		}
		select {
		case <-e.wake:
		case <-retry:
		case <-e.save():
		case <-ctx.Done():
			return
		}
	}
}

func (e *Enforcer) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// write brings the model into the kernel once it is known, and answers who
// waits for it.
func (e *Enforcer) write(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.heard[policyList] || !e.heard[sliceList] {
		return nil
	}
	err := e.sync.Write(ctx, e.model)
	for _, done := range e.waiting {
		done <- err // has room
	}
	e.waiting = nil
	return err
}

// Adopt takes the pods that the agent has found at its start, before it begins
// any. What the kernel holds of others is removed afterwards.
func (e *Enforcer) Adopt(pods []*corev1.Pod, addresses map[types.UID][]netip.Addr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range pods {
		if a := addresses[o.UID]; !o.Spec.HostNetwork && len(a) > 0 {
			e.set(PodOf(o, a))
		}
	}
	close(e.adopted)
}

func (e *Enforcer) set(pod Pod) {
	e.pods[pod.UID] = pod
	e.model.SetPod(pod)
	e.nudge()
}

// Isolate returns when the policies that select the pod are in force for its
// addresses. Until then nothing of the pod may run.
func (e *Enforcer) Isolate(ctx context.Context, o *corev1.Pod, addresses []netip.Addr) error {
	e.mu.Lock()
	e.set(PodOf(o, addresses))
	done := make(chan error, 1)
	e.waiting = append(e.waiting, done)
	e.mu.Unlock()
	defer e.leave(done)
	select {
	case err := <-done:
		return err
	case <-e.config.Clock.After(knownPatience):
		return errUnknown
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave waits for the next write no more.
func (e *Enforcer) leave(done chan error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = slices.DeleteFunc(e.waiting, func(c chan error) bool { return c == done })
}

// Update tells of a pod that has changed. One that was not isolated is none of
// ours.
func (e *Enforcer) Update(o *corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if pod, ok := e.pods[o.UID]; ok && !maps.Equal(pod.Labels, o.Labels) {
		e.set(PodOf(o, pod.Addresses))
	}
}

// Release forgets a pod whose addresses are in use no more.
func (e *Enforcer) Release(uid types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.pods[uid]; ok {
		delete(e.pods, uid)
		e.model.DeletePod(uid)
		e.nudge()
	}
}
