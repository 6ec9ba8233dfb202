package nodeagent

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/nodeagent/checkpoint"
	"github.com/headway-sh/headway/nodeagent/env"
	"github.com/headway-sh/headway/nodeagent/follow"
	"github.com/headway-sh/headway/nodeagent/plan"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/static"
	"github.com/headway-sh/headway/nodeagent/status"
	"github.com/headway-sh/headway/nodeagent/volume"
)

// Agent runs the pods of one node.
type Agent struct {
	Config
	objects  *follow.Objects
	volumes  *volume.Volumes
	services *env.Services
	writer   *status.Writer
	saved    *checkpoint.Store
	turns    chan struct{} // of pulls
	group    sync.WaitGroup
	places   chan struct{} // see place

	mu        sync.Mutex // guards all below
	workers   map[types.UID]*worker
	left      map[types.UID]*found // what the runtime had at the start
	manifests manifests
	closing   bool            // the machine goes down
	context   context.Context //nolint:containedctx // the life of Run, under which workers start
}

// New makes an agent; Run runs it.
func New(config Config) (*Agent, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	a := &Agent{
		Config:   config,
		objects:  follow.NewObjects(config.Client, config.Logger),
		services: env.NewServices(),
		writer:   status.NewWriter(config.Client, config.Clock, config.Logger),
		places:   newPlaces(),
		workers:  map[types.UID]*worker{},
		turns:    make(chan struct{}, config.ParallelPulls),
	}
	var err error
	if a.saved, err = checkpoint.Open(config.PodsDir(), filepath.Join(config.DataDir, "checkpoint.key")); err != nil {
		return nil, fmt.Errorf("node agent: %w", err)
	}
	a.volumes = volume.New(volume.Config{
		Dir: config.PodsDir(), LocalDir: config.VolumesDir(), Client: config.Client, Watch: config.Client, NodeLabels: config.NodeLabels, Objects: a.objects, Clock: config.Clock, Logger: config.Logger,
	})
	return a, nil
}

// Run takes over the pods that the last agent left, follows the API, and runs
// pods until ctx ends. It leaves containers as they are.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		a.group.Wait()
		a.writer.Wait()
	}()
	events := a.Runtime.Events(ctx)
	a.mu.Lock()
	a.context = ctx
	a.mu.Unlock()
	if err := a.adopt(ctx); err != nil {
		return err
	}
	a.group.Go(func() { a.followFiles(ctx) })
	a.group.Go(func() { a.follow(ctx, events) })
	a.group.Go(func() { _ = a.objects.Run(ctx, a.changed) }) // ends with ctx only
	a.group.Go(func() { a.followServices(ctx) })
	a.group.Go(func() { a.volumes.RemoveReleased(ctx, a.HostName) })
	follow.List(ctx, a.Client, a.Logger, &corev1.Pod{}, func() client.ObjectList { return &corev1.PodList{} },
		follow.Handler[*corev1.Pod]{Replace: a.replace, Set: a.set, Delete: a.gone},
		client.MatchingFields{"spec.nodeName": a.NodeName})
	return nil
}

// adopt starts workers for the pods of the checkpoints, with what the runtime
// says of them, so that they live on before the API has been heard.
func (a *Agent) adopt(ctx context.Context) error {
	pods, refused, err := a.saved.Load()
	if err != nil {
		return err
	}
	for _, r := range refused {
		a.Logger.Error("pod not taken over", "err", r)
	}
	if a.Pulls != nil {
		named, err := a.named(ctx)
		if err == nil {
			err = a.Pulls.Recover(named)
		}
		if err != nil {
			return fmt.Errorf("look for what pulls have left: %w", err)
		}
	}
	sandboxes, containers, err := a.Runtime.List(ctx)
	if err != nil {
		return fmt.Errorf("list sandboxes: %w", err)
	}
	a.mu.Lock()
	a.left = group(sandboxes, containers)
	a.mu.Unlock()
	if a.Policies != nil {
		// Not the checkpoint's: a pod runs as soon as it has an address, and the
		// checkpoint learns of it later.
		addresses, err := a.Network.Leased()
		if err != nil {
			return err
		}
		a.Policies.Adopt(pods, addresses)
	}
	for _, pod := range pods {
		if static.Is(pod) && outlives(pod) {
			if err := a.saved.Remove(pod.UID); err != nil {
				return fmt.Errorf("forget how a pod of a file ended: %w", err)
			}
			continue
		}
		a.start(pod, true)
	}
	return nil
}

// follow hands the runtime's events to the pods they are about.
func (a *Agent) follow(ctx context.Context, events <-chan runtime.Event) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			switch {
			case !ok:
				return
			case e.Kind == runtime.EventResync:
				a.resync(ctx)
			default:
				if w := a.worker(types.UID(e.PodUID)); w != nil {
					w.post(func() { w.event(e) })
				}
			}
		}
	}
}

// resync reads the truth from the runtime after events may have been lost.
func (a *Agent) resync(ctx context.Context) {
	sandboxes, containers, err := a.Runtime.List(ctx)
	if err != nil {
		a.Logger.Warn("runtime not listed", "err", err)
		return
	}
	found := group(sandboxes, containers)
	for _, w := range a.all() {
		w.post(func() { w.resync(found[w.uid]) })
	}
}

func (a *Agent) followServices(ctx context.Context) {
	follow.List(ctx, a.Client, a.Logger, &corev1.Service{}, func() client.ObjectList { return &corev1.ServiceList{} },
		follow.Handler[*corev1.Service]{Replace: a.services.Replace, Set: a.services.Set, Delete: a.services.Delete})
}

// replace is the whole list: pods that are not on it are gone.
func (a *Agent) replace(pods []*corev1.Pod) {
	named := map[types.UID]bool{}
	var mirrors []*corev1.Pod
	for _, pod := range pods {
		if isMirror(pod) {
			mirrors = append(mirrors, pod)
			continue
		}
		named[pod.UID] = true
		a.set(pod)
	}
	a.setMirrors(mirrors)
	for _, w := range a.all() {
		if !named[w.uid] && !w.static {
			w.post(w.gone)
		}
	}
	a.sweep(named)
}

// sweep removes what the runtime and the network still have of pods that neither the API nor a
// checkpoint knows.
func (a *Agent) sweep(named map[types.UID]bool) {
	ctx := a.life()
	sandboxes, containers, err := a.Runtime.List(ctx)
	if err != nil {
		a.Logger.Warn("runtime not listed", "err", err)
		return
	}
	for uid, f := range group(sandboxes, containers) {
		if named[uid] || a.worker(uid) != nil || f.sandbox == nil {
			continue
		}
		pod := &corev1.Pod{}
		pod.UID, pod.Namespace, pod.Name = uid, f.sandbox.PodNamespace, f.sandbox.PodName
		pod.Spec.NodeName = a.NodeName
		for _, c := range f.containers {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: c.Name})
		}
		if w := a.start(pod, true); w != nil {
			w.post(w.gone)
		}
	}
	held := func(uid types.UID) bool { return named[uid] || a.worker(uid) != nil }
	if err := a.Network.Sweep(ctx, held); err != nil {
		a.Logger.Warn("network of pods that are gone not freed", "err", err)
	}
}

func (a *Agent) set(pod *corev1.Pod) {
	if pod.Spec.NodeName != a.NodeName {
		return
	}
	if isMirror(pod) {
		a.setMirror(pod, false)
		return
	}
	if w := a.worker(pod.UID); w != nil {
		w.post(func() { w.update(pod) })
		return
	}
	a.start(pod, false)
}

func (a *Agent) gone(pod *corev1.Pod) {
	if isMirror(pod) {
		a.setMirror(pod, true)
		return
	}
	if w := a.worker(pod.UID); w != nil {
		w.post(w.gone)
	}
}

// changed is told of ConfigMaps and Secrets.
func (a *Agent) changed(owners []types.UID) {
	for _, uid := range owners {
		if w := a.worker(uid); w != nil {
			w.post(w.refreshVolumes)
		}
	}
}

// start makes a pod's worker; adopted ones have been admitted before.
func (a *Agent) start(pod *corev1.Pod, adopted bool) *worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.context == nil || a.context.Err() != nil || a.workers[pod.UID] != nil {
		return nil
	}
	w := newWorker(a, pod)
	if adopted || status.Terminal(pod.Status.Phase) || pod.Status.StartTime != nil {
		w.restore(a.left[pod.UID])
	} else if failure := a.admit(pod); failure != nil {
		w.reject(failure)
	}
	a.workers[pod.UID] = w
	ctx := a.context
	a.group.Go(func() {
		w.run(ctx)
		a.mu.Lock()
		delete(a.workers, w.uid)
		a.mu.Unlock()
		for _, other := range a.all() {
			other.post(func() {}) // there may be room now for a resize that waits
		}
		if w.static {
			a.syncFiles() // another may have waited for its name
		}
	})
	return w
}

// admit checks a new pod against what runs already; mu is held.
func (a *Agent) admit(pod *corev1.Pod) *status.Failure {
	if failure := a.tooLate(); failure != nil {
		return failure
	}
	if a.Pressure != nil {
		if failure := underPressure(pod, a.Pressure()); failure != nil {
			return failure
		}
	}
	return plan.Admit(pod, a.nodeLocked(""))
}

// nodeLocked is what pods are admitted against, leaving one of them out; mu is
// held.
func (a *Agent) nodeLocked(but types.UID) plan.Node {
	node := plan.Node{Sysctls: a.UnsafeSysctls}
	if a.Allocatable != nil {
		node.Allocatable = a.Allocatable()
	}
	if a.NodeLabels != nil {
		node.Labels = a.NodeLabels()
	}
	for _, w := range a.workers {
		if p := w.shared.Load(); !p.ended && w.uid != but {
			node.Pods = append(node.Pods, p.holds)
		}
	}
	return node
}

func (a *Agent) worker(uid types.UID) *worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.workers[uid]
}

func (a *Agent) all() []*worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.workers))
}

func (a *Agent) life() context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.context
}
