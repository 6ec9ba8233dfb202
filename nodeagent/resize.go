package nodeagent

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/nodeagent/cgroup"
	"github.com/headway-sh/headway/nodeagent/plan"
	"github.com/headway-sh/headway/nodeagent/status"
)

// busyResize is what an in-place resize is busy under: no container has a name
// with a slash.
const busyResize = "/resize"

// resize brings the resources of running containers to what the spec says by
// now. It is held back while the node has no room for it.
//
//	spec changed ──▶ room? ──no──▶ pending (Deferred, or Infeasible for good)
//	                   │yes
//	                   ▼
//	pod's group raised ▶ containers updated or restarted ▶ pod's group exact
func (w *worker) resize(ctx context.Context) {
	if !w.setUp || w.ending != nil || w.busy[busyResize] || w.agent.Clock.Now().Before(w.resizeRetry) {
		return
	}
	changed := w.toResize()
	whole := limitsOrNone(w.pod.Spec.Resources) != limitsOrNone(w.observed.Resources)
	if len(changed) == 0 && !whole {
		w.observed.Resize = nil
		return
	}
	if pending := plan.Resize(w.pod, w.agent.node(w.uid)); pending != nil {
		if w.observed.Resize == nil || *w.observed.Resize != *pending {
			w.agent.Recorder.Event(w.pod, corev1.EventTypeWarning, "Resize"+pending.Reason, "Pod resize "+pending.Message)
		}
		w.observed.Resize = pending
		return
	}
	w.observed.Resize = &status.Resize{InProgress: true}
	var live []*corev1.Container
	for _, c := range changed {
		o := w.observed.Containers[c.Name]
		if restarts(c, o.Resources) {
			if !w.busy[c.Name] {
				w.unhealthy[c.Name] = plan.Verdict{Resize: true, Grace: plan.Grace(w.pod)}
			}
			continue
		}
		live = append(live, c)
	}
	// The pod's own group comes first for those that restart, too.
	if len(live) > 0 || whole || w.resizedFor != w.pod.Generation {
		w.spawn(ctx, busyResize, w.resizer(live))
	}
}

// toResize are the running containers that have other resources than the spec
// says.
func (w *worker) toResize() (changed []*corev1.Container) {
	for _, list := range [][]corev1.Container{w.pod.Spec.InitContainers, w.pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			if o := w.observed.Containers[c.Name]; o.Running() && o.Resources != nil && !equality.Semantic.DeepEqual(limitsOf(&c.Resources), limitsOf(o.Resources)) {
				changed = append(changed, c)
			}
		}
	}
	return changed
}

// limitsOf leaves out what no resize changes.
func limitsOf(r *corev1.ResourceRequirements) [4]int64 {
	return [4]int64{
		r.Requests.Cpu().MilliValue(), r.Limits.Cpu().MilliValue(), r.Requests.Memory().Value(), r.Limits.Memory().Value(),
	}
}

// restarts tells whether a change is one that the container wants to be
// restarted for.
func restarts(c *corev1.Container, from *corev1.ResourceRequirements) bool {
	was, now := limitsOf(from), limitsOf(&c.Resources)
	for _, p := range c.ResizePolicy {
		if p.RestartPolicy != corev1.RestartContainer {
			continue
		}
		switch {
		case p.ResourceName == corev1.ResourceCPU && (was[0] != now[0] || was[1] != now[1]),
			p.ResourceName == corev1.ResourceMemory && (was[2] != now[2] || was[3] != now[3]):
			return true
		}
	}
	return false
}

// resizer changes the resources of containers that go on running.
func (w *worker) resizer(live []*corev1.Container) func(context.Context) func() {
	pod := w.pod
	ids, before := map[string]string{}, pod.DeepCopy()
	before.Spec.Resources = w.observed.Resources
	for _, list := range [][]corev1.Container{before.Spec.InitContainers, before.Spec.Containers} {
		for i := range list {
			if o := w.observed.Containers[list[i].Name]; o != nil && o.Resources != nil {
				ids[list[i].Name] = o.ID
				list[i].Resources = *o.Resources
			}
		}
	}
	return func(ctx context.Context) func() {
		err := w.applyResize(ctx, before, pod, live, ids)
		return func() { w.resized(ctx, pod, live, ids, err) }
	}
}

func (w *worker) applyResize(ctx context.Context, before, pod *corev1.Pod, live []*corev1.Container, ids map[string]string) error {
	if err := w.fitsUsage(ctx, before, live, ids); err != nil {
		return err
	}
	if err := w.agent.Cgroups.Resize(before, pod); err != nil {
		return err
	}
	for _, c := range live {
		limits := cgroup.Container(c)
		// What is no more limited has to be said: zero leaves it as it is.
		if limits.CPUQuota == 0 {
			limits.CPUQuota = -1
		}
		if limits.MemoryLimit == 0 {
			limits.MemoryLimit = -1
		}
		w.runtimeMu.Lock()
		err := w.agent.Runtime.Update(ctx, ids[c.Name], limits)
		w.runtimeMu.Unlock()
		if err != nil {
			return err
		}
	}
	_, err := w.agent.Cgroups.Ensure(pod)
	return err
}

// resized takes the end of a resize; what has failed is tried again.
func (w *worker) resized(ctx context.Context, pod *corev1.Pod, live []*corev1.Container, ids map[string]string, err error) {
	if err != nil {
		if ctx.Err() == nil {
			w.resizeFailures++
			w.resizeRetry = w.agent.Clock.Now().Add(soon(w.resizeFailures))
			w.observed.Resize = &status.Resize{InProgress: true, Reason: "Error", Message: err.Error()}
			w.agent.Recorder.Event(w.pod, corev1.EventTypeWarning, "ResizeError", fmt.Sprintf("Error resizing pod: %v", err))
		}
		return
	}
	w.resizeFailures, w.resizedFor = 0, pod.Generation
	w.observed.Resources = pod.Spec.Resources.DeepCopy()
	for _, c := range live {
		if o := w.observed.Containers[c.Name]; o != nil && o.ID == ids[c.Name] {
			o.Resources = c.Resources.DeepCopy()
		}
	}
	if len(w.toResize()) == 0 {
		w.agent.Recorder.Event(w.pod, corev1.EventTypeNormal, "ResizeCompleted", "Pod resize completed")
	}
}

// fitsUsage refuses a limit of memory below what a container uses: the kernel
// would kill it. Pages may be given back meanwhile: it is tried again.
func (w *worker) fitsUsage(ctx context.Context, before *corev1.Pod, live []*corev1.Container, ids map[string]string) error {
	for _, c := range live {
		limit := c.Resources.Limits.Memory().Value()
		if had := memoryLimit(before, c.Name); limit == 0 || had > 0 && limit >= had {
			continue
		}
		stats, err := w.agent.Runtime.Stats(ctx, ids[c.Name])
		if err != nil {
			return err
		}
		if stats.MemoryUsage > uint64(limit) {
			return fmt.Errorf("memory limit %d of container %q is below what it uses: %d", limit, c.Name, stats.MemoryUsage)
		}
	}
	return nil
}

func memoryLimit(pod *corev1.Pod, name string) int64 {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return list[i].Resources.Limits.Memory().Value()
			}
		}
	}
	return 0
}

func limitsOrNone(r *corev1.ResourceRequirements) [4]int64 {
	if r == nil {
		return [4]int64{}
	}
	return limitsOf(r)
}

// allocated is the pod with what the node has promised it: while a resize is
// pending that is what it had.
func (w *worker) allocated() *corev1.Pod {
	if r := w.observed.Resize; r == nil || r.InProgress {
		return w.pod
	}
	pod := w.pod.DeepCopy()
	pod.Spec.Resources = w.observed.Resources.DeepCopy()
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if o := w.observed.Containers[list[i].Name]; o != nil && o.Resources != nil {
				list[i].Resources = *o.Resources.DeepCopy()
			}
		}
	}
	return pod
}

// node is what pods are admitted against, leaving one of them out.
func (a *Agent) node(but types.UID) plan.Node {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.nodeLocked(but)
}

// granted is a container's spec for its next attempt: while a resize is
// pending it keeps the resources that it had.
func (w *worker) granted(c *corev1.Container, o *status.Container) *corev1.Container {
	if r := w.observed.Resize; r == nil || r.InProgress || o.Resources == nil {
		return c
	}
	c = c.DeepCopy()
	c.Resources = *o.Resources
	return c
}
