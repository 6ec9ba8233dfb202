package nodeagent

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/nodeagent/plan"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/status"
)

// found is what the runtime has of one pod.
type found struct {
	sandbox    *runtime.Sandbox
	containers map[string]runtime.Container // the newest attempt by name
}

func group(sandboxes []runtime.Sandbox, containers []runtime.Container) map[types.UID]*found {
	all := map[types.UID]*found{}
	at := func(uid string) *found {
		f := all[types.UID(uid)]
		if f == nil {
			f = &found{containers: map[string]runtime.Container{}}
			all[types.UID(uid)] = f
		}
		return f
	}
	for i := range sandboxes {
		at(sandboxes[i].PodUID).sandbox = &sandboxes[i]
	}
	for _, c := range containers {
		f := at(c.PodUID)
		if old, ok := f.containers[c.Name]; !ok || old.Attempt < c.Attempt {
			f.containers[c.Name] = c
		}
	}
	return all
}

// event takes an event of the runtime.
func (w *worker) event(e runtime.Event) {
	if e.Kind == runtime.EventLogged {
		defer w.logged(e.ContainerID)
	}
	for name, o := range w.observed.Containers {
		if o.ID != e.ContainerID {
			continue
		}
		o.OOMKilled = o.OOMKilled || e.OOMKilled
		switch e.Kind {
		case runtime.EventStarted:
			w.running(name, e.ContainerID, e.Time)
		case runtime.EventOOM:
			o.OOMKilled = true
		case runtime.EventExited:
			if c := w.container(name); c == nil || !lastWordsOfLog(c, e.ExitCode) {
				w.exited(name, o, e.ExitCode, e.Time)
			}
		case runtime.EventLogged:
			w.exited(name, o, e.ExitCode, e.Time)
		case runtime.EventResync:
		}
	}
}

// lastWordsOfLog tells whether a container's last words may come from its log,
// which has to be complete for that.
func lastWordsOfLog(c *corev1.Container, code int) bool {
	return code != 0 && c.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError
}

// logged notes that a container has ended and that its log is complete; who
// waits for that goes on.
func (w *worker) logged(id string) {
	if exited := w.exits[id]; exited != nil {
		close(exited)
		delete(w.exits, id)
	}
}

// ended notes that a container's process has ended, and its log with it.
func (w *worker) ended(name string, o *status.Container, code int, at time.Time) {
	w.exited(name, o, code, at)
	w.logged(o.ID)
}

// exited notes that a container's process has ended.
func (w *worker) exited(name string, o *status.Container, code int, at time.Time) {
	if o.Exited() {
		return
	}
	o.State, o.ExitCode, o.Finished = runtime.StateExited, code, at
	o.StartedUp, o.Ready, o.Starting, o.Waiting = false, false, false, nil
	if o.Started.IsZero() {
		o.Started = at
	}
	if at.Sub(o.Started) >= plan.LongRun {
		o.Crashes = 0
	}
	if !o.Again {
		o.Crashes++
	}
	w.probes.End(name)
	delete(w.unhealthy, name)
	if c := w.container(name); c != nil {
		o.Message = w.terminationMessage(c, o)
	}
}

// resync compares what is known with the truth after events may be lost.
func (w *worker) resync(f *found) {
	if f == nil {
		f = &found{}
	}
	for name, o := range w.observed.Containers {
		c, ok := f.containers[name]
		switch {
		case o.Exited():
			w.logged(o.ID)
		case o.ID == "" || w.busy[name] && o.State == runtime.StateCreated:
		case !ok || c.ID != o.ID:
			w.ended(name, o, 137, w.agent.Clock.Now())
			o.Reason, o.Message = "ContainerStatusUnknown", "The container was gone from the runtime"
		case c.State == runtime.StateExited:
			o.OOMKilled = o.OOMKilled || c.OOMKilled
			w.ended(name, o, c.ExitCode, c.Finished)
		}
	}
}

// restore takes a pod over from the agent before this one: its last status
// from the checkpoint or the API, and what the runtime has of it.
func (w *worker) restore(f *found) {
	s := &w.pod.Status
	if s.StartTime != nil {
		w.observed.StartTime = s.StartTime.Time
	}
	if s.Phase == corev1.PodFailed && s.Reason != "" {
		w.observed.Failure = &status.Failure{Reason: s.Reason, Message: s.Message}
	}
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			if o := remembered(&list[i]); o != nil {
				w.observed.Containers[list[i].Name] = o
			}
		}
	}
	if f != nil {
		for name, c := range f.containers {
			w.recover(name, c)
		}
	}
	for name, o := range w.observed.Containers {
		if _, ok := w.exits[o.ID]; o.Running() && !ok {
			w.ended(name, o, 137, w.agent.Clock.Now())
			o.Reason, o.Message = "ContainerStatusUnknown", "The container could not be located after the node came back"
		}
	}
	ready := f != nil && f.sandbox != nil && f.sandbox.Ready
	for _, o := range w.observed.Containers {
		o.Stale = !ready && o.Exited()
	}
	if ready {
		w.observed.Resources = s.Resources.DeepCopy()
	}
	if status.Terminal(s.Phase) && w.ending == nil {
		w.ending = &plan.Ending{Deadline: w.agent.Clock.Now()}
	}
	if ready {
		for _, ip := range s.PodIPs {
			w.observed.PodIPs = append(w.observed.PodIPs, ip.IP)
		}
		w.observed.SandboxReady = true
		w.setIPs(w.observed.PodIPs)
	}
}

// recover takes over one container that the runtime has.
func (w *worker) recover(name string, c runtime.Container) {
	old := w.observed.Containers[name]
	o := &status.Container{
		ID: c.ID, Attempt: c.Attempt, State: c.State, Started: c.Started, Finished: c.Finished,
		ExitCode: c.ExitCode, OOMKilled: c.OOMKilled, Reason: c.Reason, Message: c.Message,
		ImageID: c.ImageID, Image: c.ImageRef, LogPath: c.LogPath, Crashes: c.Attempt + 1, User: linuxUser(c.User),
	}
	if old != nil {
		o.Last = old.Last
		if old.ID == o.ID {
			o.Image, o.ImageID, o.Resources = old.Image, old.ImageID, old.Resources
			o.Ready, o.StartedUp, o.StopSignal = old.Ready, old.StartedUp, old.StopSignal
			if !old.Started.IsZero() {
				o.Started = old.Started
			}
			if o.Exited() && o.Message == "" {
				o.Message = old.Message
			}
		} else if old.Exited() {
			o.Last = status.Terminated(old, w.agent.RuntimeName)
		}
	}
	w.observed.Containers[name] = o
	spec := w.container(name)
	if spec == nil {
		return
	}
	switch o.State {
	case runtime.StateRunning:
		w.exits[o.ID] = make(chan struct{})
		o.StartedUp = o.StartedUp || spec.StartupProbe == nil
		o.Ready = o.Ready || spec.ReadinessProbe == nil
		o.Crashes--
		w.post(func() { w.watchProbes(spec, o) })
	case runtime.StateCreated:
		// Never started: Create finds it, Start starts it.
		o.State, o.ID = "", ""
	case runtime.StateExited:
		if o.Message == "" {
			o.Message = w.terminationMessage(spec, o)
		}
	}
}

// remembered is a container as its last status tells it.
func remembered(s *corev1.ContainerStatus) *status.Container {
	o := &status.Container{
		Attempt: int(s.RestartCount), Image: s.Image, ImageID: s.ImageID, Ready: s.Ready,
		Resources: s.Resources,
		Last:      s.LastTerminationState.Terminated, StartedUp: s.Started != nil && *s.Started,
	}
	if s.User != nil {
		o.User = s.User.Linux
	}
	if s.StopSignal != nil {
		o.StopSignal = string(*s.StopSignal)
	}
	_, o.ID = cutID(s.ContainerID)
	switch {
	case s.State.Running != nil:
		o.State, o.Started = runtime.StateRunning, s.State.Running.StartedAt.Time
	case s.State.Terminated != nil:
		from(o, s.State.Terminated)
	case s.ContainerID != "" && o.Last != nil:
		// Waiting to be restarted: the last state is the newest attempt.
		from(o, o.Last)
		o.Last = nil
	default:
		if s.RestartCount == 0 && o.Last == nil {
			return nil
		}
	}
	if o.Exited() {
		o.Crashes = o.Attempt + 1
	}
	return o
}

func from(o *status.Container, t *corev1.ContainerStateTerminated) {
	o.State, o.Started, o.Finished = runtime.StateExited, t.StartedAt.Time, t.FinishedAt.Time
	o.ExitCode, o.Reason, o.Message = int(t.ExitCode), t.Reason, t.Message
	o.Ready, o.StartedUp = false, false
}

func linuxUser(u *runtime.User) *corev1.LinuxContainerUser {
	if u == nil {
		return nil
	}
	return &corev1.LinuxContainerUser{UID: u.UID, GID: u.GID, SupplementalGroups: u.Groups}
}
