package nodeagent

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/nodeagent/eviction"
	"github.com/headway-sh/headway/nodeagent/plan"
	"github.com/headway-sh/headway/nodeagent/probe"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/serve"
	"github.com/headway-sh/headway/nodeagent/shutdown"
	"github.com/headway-sh/headway/nodeagent/static"
	"github.com/headway-sh/headway/nodeagent/status"
)

// worker runs one pod. Everything in it belongs to the goroutine of run; others
// post functions to its inbox, or read what shared holds.
type worker struct {
	agent *Agent
	uid   types.UID
	inbox inbox
	// static says that the pod is one of a file; the API shows its mirror.
	static bool
	mirror mirror

	pod      *corev1.Pod // desired, as last heard; never changed
	observed status.Observed
	sandbox  sandbox
	setUp    bool
	tornDown bool
	ending   *plan.Ending
	absent   bool // the API has no such pod any more
	finished bool
	down     chan struct{} // closed when nothing of the pod is left on the node

	busy      map[string]bool
	starts    map[string]context.CancelFunc
	kills     map[string]*kill
	exits     map[string]chan struct{} // by container ID, closed when it has ended
	unhealthy map[string]plan.Verdict
	pulls     map[string]int // failed pulls in a row, by container
	retry     time.Time
	failures  int // of the pod's own operation, in a row

	runtimeMu sync.Mutex // the runtime wants one call at a time for a pod
	hooks     []hook
	probes    *probe.Probes
	group     sync.WaitGroup

	resizeRetry    time.Time
	resizeFailures int
	resizedFor     int64 // the pod's generation that its own group is right for

	refreshing, again bool      // volumes are being rewritten, and shall be once more
	renew             time.Time // when a token of the pod wants a new one

	life      context.Context //nolint:containedctx // that of run, for what begins in posted functions
	published *corev1.PodStatus
	dirty     bool // the checkpoint is older than the pod
	saving    bool
	finishing bool // nothing is saved any more
	shared    atomic.Pointer[shared]
}

// shared is what others may see of a worker.
type shared struct {
	pod     *corev1.Pod
	holds   *corev1.Pod // the pod with the resources that the node has promised
	status  *corev1.PodStatus
	netns   string
	ips     []string
	ended   bool
	absent  bool
	leaving bool
	api     types.UID // of the object that has the status; empty: none
	mirror  *corev1.Pod
	ids     map[string]string // container → runtime's ID
	served  map[string]serve.Container
}

// sandbox is what the hooks have made for the pod.
type sandbox struct {
	mu           sync.Mutex // guards the fields: hooks run side by side
	cgroupParent string
	netns        string
	ips          []string
	volumes      map[string]string        // volume name → path on the node
	images       map[string]runtime.Image // reference → image that is present
	imageVolumes map[string]string        // volume name → path, of those mounted
}

func newWorker(a *Agent, pod *corev1.Pod) *worker {
	w := &worker{
		agent: a, uid: pod.UID, pod: pod, static: static.Is(pod),
		inbox: newInbox(),
		busy:  map[string]bool{}, starts: map[string]context.CancelFunc{}, kills: map[string]*kill{},
		exits: map[string]chan struct{}{}, unhealthy: map[string]plan.Verdict{}, pulls: map[string]int{},
		dirty: true,
	}
	w.observed = status.Observed{StartTime: a.Clock.Now(), Containers: map[string]*status.Container{}}
	for _, ip := range a.HostIPs {
		w.observed.HostIPs = append(w.observed.HostIPs, ip.String())
	}
	w.down = make(chan struct{})
	w.hooks = w.podHooks()
	w.probes = probe.New(probe.Config{Clock: a.Clock, Exec: w.probeExec})
	w.share()
	w.desire(pod)
	return w
}

// post puts f into the worker's inbox; it never blocks.
func (w *worker) post(f func()) { w.inbox.put(f) }

// run drives the pod until it is gone from the node or ctx ends.
func (w *worker) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	w.life = ctx
	defer func() {
		cancel()
		if w.finished {
			w.isDown()
		}
		w.probes.Stop()
		w.group.Wait()
	}()
	for {
		wake := w.step(ctx)
		if w.finished {
			return
		}
		var timer <-chan time.Time
		stop := func() {}
		if !wake.IsZero() {
			t := w.agent.Clock.NewTimer(max(wake.Sub(w.agent.Clock.Now()), time.Millisecond))
			timer, stop = t.C(), func() { t.Stop() }
		}
		select {
		case <-w.inbox.ready:
			w.inbox.each()
		case <-timer:
		case <-ctx.Done():
			stop()
			return
		}
		stop()
	}
}

// step plans, acts, and publishes; it gives the time to look again.
func (w *worker) step(ctx context.Context) time.Time {
	p := plan.Make(plan.Input{
		Pod: w.pod, Observed: &w.observed, Now: w.agent.Clock.Now(),
		SetUp: w.setUp, TornDown: w.tornDown, Ending: w.ending,
		Busy: w.busy, Unhealthy: w.unhealthy, Retry: w.retry,
	})
	w.observed.Stopped = p.Stopped
	for name, waiting := range p.Waiting {
		w.hold(name, waiting)
	}
	for _, action := range p.Actions {
		w.act(ctx, action)
	}
	w.resize(ctx)
	w.publish(ctx)
	if p.Stopped && w.tornDown {
		w.isDown()
	}
	if at := w.showMirror(ctx); !at.IsZero() && (p.Wake.IsZero() || at.Before(p.Wake)) {
		p.Wake = at
	}
	if r := w.observed.Resize; r != nil && r.Reason == "Error" && (p.Wake.IsZero() || w.resizeRetry.Before(p.Wake)) {
		p.Wake = w.resizeRetry
	}
	if w.setUp && !w.renew.IsZero() && w.ending == nil {
		if !w.agent.Clock.Now().Before(w.renew) {
			w.renew = time.Time{}
			w.refreshVolumes()
		} else if p.Wake.IsZero() || w.renew.Before(p.Wake) {
			return w.renew
		}
	}
	return p.Wake
}

// isDown says so to who waits for it.
func (w *worker) isDown() {
	select {
	case <-w.down:
	default:
		close(w.down)
	}
}

func (w *worker) hold(name string, waiting status.Waiting) {
	at := w.observed.Containers[name]
	if at.Waiting != nil && *at.Waiting == waiting {
		return
	}
	at.Waiting = &waiting
	w.event1(name, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container "+name+" in pod "+w.pod.Name+"_"+w.pod.Namespace+"("+string(w.uid)+")")
}

func (w *worker) act(ctx context.Context, a plan.Action) {
	switch a.Kind {
	case plan.SetUp:
		w.spawn(ctx, "", w.setUpPod)
	case plan.TearDown:
		if w.refreshing {
			return // volumes are being written: its end asks for a plan again
		}
		w.spawn(ctx, "", w.tearDownPod)
	case plan.Finish:
		if w.saving {
			return // its end asks for a plan again; the last word on the disk is to be ours
		}
		w.finishing = true
		w.spawn(ctx, "", w.finishPod)
	case plan.Start:
		w.startContainer(ctx, a)
	case plan.Kill:
		w.killContainer(ctx, a)
	case plan.AllAgain:
		w.allAgain()
	case plan.Fail:
		w.fail(a.Reason, a.Message)
	}
}

// spawn runs an operation beside the worker under a name that is busy until
// what it returns has been run by the worker.
func (w *worker) spawn(ctx context.Context, name string, operation func(context.Context) func()) {
	w.busy[name] = true
	w.group.Go(func() {
		done := operation(ctx)
		w.post(func() {
			delete(w.busy, name)
			if done != nil {
				done()
			}
		})
	})
}

// update takes a newer state of the pod from the API.
func (w *worker) update(pod *corev1.Pod) {
	if w.absent {
		return
	}
	old := w.pod
	w.pod = pod
	w.share()
	// What was read anew is told apart by its generation: most updates are the
	// echo of a status.
	if old.Generation != pod.Generation || old.UID != pod.UID || pod.Generation == 0 && !equality.Semantic.DeepEqual(old.Spec, pod.Spec) || !equality.Semantic.DeepEqual(old.ObjectMeta.DeletionTimestamp, pod.DeletionTimestamp) {
		w.dirty = true
	}
	w.desire(pod)
	if w.agent.Policies != nil {
		w.agent.Policies.Update(pod)
	}
	if w.setUp && (!equality.Semantic.DeepEqual(old.Labels, pod.Labels) || !equality.Semantic.DeepEqual(old.Annotations, pod.Annotations)) {
		w.dirty = true
		w.refreshVolumes()
	}
	w.share()
}

// desire reads from the pod whether it shall end.
func (w *worker) desire(pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil {
		w.end(plan.Grace(pod), true)
	}
}

// gone says that the API has no such pod any more.
func (w *worker) gone() {
	if w.absent {
		return
	}
	w.absent = true
	w.agent.writer.Forget(w.uid)
	w.end(plan.Grace(w.pod), true)
}

// fail gives the pod up; it stays in the API as failed.
func (w *worker) fail(reason, message string) { w.failIn(reason, message, plan.Grace(w.pod)) }

// failIn is fail with a grace of its own.
func (w *worker) failIn(reason, message string, grace time.Duration) {
	w.observed.Failure = &status.Failure{Reason: reason, Message: message, Disruption: reason == eviction.Reason || reason == shutdown.Reason}
	w.agent.Recorder.Event(w.pod, corev1.EventTypeWarning, reason, message)
	w.end(grace, false)
	w.share()
}

// reject fails a pod that was not admitted, before anything of it was made.
func (w *worker) reject(failure *status.Failure) {
	w.observed.Failure = failure
	w.ending = &plan.Ending{Deadline: w.agent.Clock.Now(), Delete: w.pod.DeletionTimestamp != nil}
	w.agent.Recorder.Event(w.pod, corev1.EventTypeWarning, failure.Reason, failure.Message)
}

// end makes the pod end within grace; a later end can only be earlier or add
// that the pod is to be deleted.
func (w *worker) end(grace time.Duration, remove bool) {
	deadline := w.agent.Clock.Now().Add(grace)
	if w.ending == nil {
		w.ending = &plan.Ending{Deadline: deadline}
		// A set-up that waited for its next try does not hold up the end.
		w.retry, w.failures = time.Time{}, 0
	}
	if deadline.Before(w.ending.Deadline) {
		w.ending.Deadline = deadline
	}
	w.ending.Delete = w.ending.Delete || remove
	for _, cancel := range w.starts {
		cancel()
	}
	for _, k := range w.kills {
		k.hasten(w.ending.Deadline)
	}
}

// publish brings the pod's status to the API and to the disk.
func (w *worker) publish(ctx context.Context) {
	s := status.Compute(w.pod, &w.observed, w.agent.RuntimeName, w.agent.Clock.Now())
	if w.published != nil {
		keepTimes(w.published, &s)
	}
	if w.published == nil || !status.Same(w.published, &s) {
		w.published, w.dirty = &s, true
	}
	if pod := w.inAPI(); pod != nil && !w.absent {
		w.agent.writer.Set(ctx, pod, w.published) // which knows whether there is anything to say
	}
	w.share()
	w.save(ctx)
}

// keepTimes keeps transition times that the API has not answered with yet.
func keepTimes(old, s *corev1.PodStatus) {
	for i := range s.Conditions {
		for j := range old.Conditions {
			if c, o := &s.Conditions[i], &old.Conditions[j]; c.Type == o.Type && c.Status == o.Status {
				c.LastTransitionTime = o.LastTransitionTime
			}
		}
	}
}

// save writes the checkpoint beside the worker; a change meanwhile is written
// after it.
func (w *worker) save(ctx context.Context) {
	if !w.dirty || w.saving || w.finishing || w.published == nil || w.absent {
		return
	}
	w.dirty, w.saving = false, true
	pod := w.pod.DeepCopy()
	pod.Status = *w.published.DeepCopy()
	w.group.Go(func() {
		err := w.agent.saved.Save(pod)
		w.post(func() {
			w.saving = false
			if err != nil && ctx.Err() == nil {
				w.agent.Logger.Warn("pod not saved", "pod", podName(pod), "err", err)
			}
		})
	})
}

func (w *worker) share() {
	s := &shared{pod: w.pod, holds: w.allocated(), status: w.published, ended: w.observed.Stopped, absent: w.absent, leaving: w.ending != nil, mirror: w.mirror.pod, ids: map[string]string{}, served: map[string]serve.Container{}}
	for name, c := range w.observed.Containers {
		s.ids[name] = c.ID
		s.served[name] = w.serve(name, c)
	}
	if pod := w.inAPI(); pod != nil {
		s.api = pod.UID
	}
	w.sandbox.mu.Lock()
	s.netns = w.sandbox.netns
	s.ips = slices.Clone(w.sandbox.ips)
	w.sandbox.mu.Unlock()
	s.ended = s.ended || w.published != nil && status.Terminal(w.published.Phase)
	w.shared.Store(s)
}

func podName(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }
