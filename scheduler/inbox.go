package scheduler

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/scheduler/core"
)

// message is something that the loop's goroutine is to do.
type message func(*Scheduler)

// inbox takes messages from any goroutine. It is not bounded: what it holds
// are references to objects that the cache holds anyway.
type inbox struct {
	mu       sync.Mutex // guards messages
	messages []message
	ready    chan struct{}
}

func newInbox() *inbox { return &inbox{ready: make(chan struct{}, 1)} }

func (i *inbox) put(messages ...message) {
	i.mu.Lock()
	i.messages = append(i.messages, messages...)
	i.mu.Unlock()
	select {
	case i.ready <- struct{}{}:
	default:
	}
}

func (i *inbox) take() []message {
	i.mu.Lock()
	defer i.mu.Unlock()
	taken := i.messages
	i.messages = nil
	return taken
}

// watch lets the cache put its events into the inbox. It returns when all
// kinds are in sync: pods that run must be known before the first
// decision, or nodes would be over-committed.
func (s *Scheduler) watch(ctx context.Context) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	for _, kind := range []struct {
		object client.Object
		handle toolscache.ResourceEventHandler
	}{
		{&corev1.Namespace{}, handler(s, (*Scheduler).setNamespace, (*Scheduler).removeNamespace)},
		{&policyv1.PodDisruptionBudget{}, handler(s, (*Scheduler).setBudget, (*Scheduler).removeBudget)},
		{&storagev1.StorageClass{}, handler(s, (*Scheduler).setClass, (*Scheduler).removeClass)},
		{&storagev1.CSINode{}, handler(s, (*Scheduler).setCSINode, (*Scheduler).removeCSINode)},
		{&corev1.PersistentVolume{}, handler(s, (*Scheduler).setVolume, (*Scheduler).removeVolume)},
		{&corev1.PersistentVolumeClaim{}, handler(s, (*Scheduler).setClaim, (*Scheduler).removeClaim)},
		{&corev1.Node{}, handler(s, (*Scheduler).setNode, (*Scheduler).removeNode)},
		{&corev1.Pod{}, handler(s, (*Scheduler).setPod, (*Scheduler).removePod)},
	} {
		informer, err := s.config.Cache.GetInformer(ctx, kind.object)
		if err != nil {
			stop()
			return nil, fmt.Errorf("watch %T: %w", kind.object, err)
		}
		registration, err := informer.AddEventHandler(kind.handle)
		if err != nil {
			stop()
			return nil, fmt.Errorf("watch %T: %w", kind.object, err)
		}
		stops = append(stops, func() {
			if err := informer.RemoveEventHandler(registration); err != nil {
				s.log.Debug("remove event handler", "err", err)
			}
		})
		if !toolscache.WaitFor(ctx, "", registration.HasSyncedChecker()) {
			stop()
			return nil, fmt.Errorf("sync %T: %w", kind.object, ctx.Err())
		}
	}
	return stop, nil
}

func handler[T client.Object](s *Scheduler, set, remove func(*Scheduler, T)) toolscache.ResourceEventHandler {
	put := func(f func(*Scheduler, T), x any) {
		if gone, ok := x.(toolscache.DeletedFinalStateUnknown); ok {
			x = gone.Obj
		}
		if o, ok := x.(T); ok {
			s.inbox.put(func(s *Scheduler) { f(s, o) })
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { put(set, o) },
		UpdateFunc: func(_, o any) { put(set, o) },
		DeleteFunc: func(o any) { put(remove, o) },
	}
}

func (s *Scheduler) setNamespace(n *corev1.Namespace) {
	labels := n.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	s.state.SetNamespace(n.Name, labels)
}

func (s *Scheduler) removeNamespace(n *corev1.Namespace) { s.state.SetNamespace(n.Name, nil) }

func (s *Scheduler) setBudget(b *policyv1.PodDisruptionBudget) {
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		s.log.Warn("disruption budget cannot be read", "namespace", b.Namespace, "budget", b.Name, "err", err)
		s.removeBudget(b)
		return
	}
	disrupted := make(map[string]bool, len(b.Status.DisruptedPods))
	for pod := range b.Status.DisruptedPods {
		disrupted[pod] = true
	}
	s.state.SetBudget(b.Namespace, b.Name, &core.Budget{Namespace: b.Namespace, Selector: selector, Allowed: b.Status.DisruptionsAllowed, Disrupted: disrupted})
}

func (s *Scheduler) removeBudget(b *policyv1.PodDisruptionBudget) {
	s.state.SetBudget(b.Namespace, b.Name, nil)
}

func (s *Scheduler) setNode(n *corev1.Node) {
	if change := s.state.SetNode(n); change != 0 {
		s.queue.Wake(change, s.clock.Now())
	}
}

func (s *Scheduler) removeNode(n *corev1.Node) { s.state.RemoveNode(n.Name) }

func (s *Scheduler) setPod(o *corev1.Pod) {
	now := s.clock.Now()
	if o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
		s.removePod(o)
		return
	}
	if o.Spec.NodeName == "" && !s.mine(o) {
		s.queue.Remove(o.UID)
		delete(s.asking, o.UID)
		delete(s.offers, o.UID)
		s.unnominate(o.UID)
		s.leaveGang(o)
		return
	}
	p, err := core.NewPod(o)
	if err != nil {
		s.log.Warn("pod cannot be read", "namespace", o.Namespace, "pod", o.Name, "err", err)
		s.reports.unschedulable(o, err.Error(), "")
		return
	}
	if o.Spec.NodeName != "" {
		s.queue.Remove(o.UID)
		s.state.Unnominate(o.UID)
		delete(s.offers, o.UID)
		s.settle(o.UID)
		s.joinGang(o)
		if s.state.Place(p, o.Spec.NodeName) {
			s.queue.Wake(core.PodPlaced, now)
		}
		return
	}
	if _, assumed := s.state.NodeOf(o.UID); assumed && !s.queue.Has(o.UID) {
		return // older than the bind that the API has acknowledged
	}
	s.nominations(p)
	s.queue.Add(p, now)
}

// mine tells whether a pod without a node waits for this scheduler.
func (s *Scheduler) mine(o *corev1.Pod) bool {
	if o.DeletionTimestamp != nil || len(o.Spec.SchedulingGates) > 0 {
		return false
	}
	return slices.ContainsFunc(s.config.Profiles, func(p core.Profile) bool { return p.Name == profileOf(o) })
}

func (s *Scheduler) removePod(o *corev1.Pod) {
	s.queue.Remove(o.UID)
	s.reports.forget(o.UID)
	delete(s.offers, o.UID)
	s.unnominate(o.UID)
	if s.confirmed(o.UID) {
		s.settle(o.UID)
	} else {
		s.release(o.UID)
	}
	s.leaveGang(o)
	if s.state.Remove(o.UID) {
		s.queue.Wake(core.PodGone, s.clock.Now())
	}
}
