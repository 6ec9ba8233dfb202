package plan

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/status"
)

// Kind is what an Action does.
type Kind string

const (
	// SetUp runs the pod's hooks; TearDown undoes them in reverse.
	SetUp    Kind = "set up"
	TearDown Kind = "tear down"
	// Start makes and starts the next attempt of a container.
	Start Kind = "start"
	// Kill stops a container gracefully until its deadline, then at once.
	Kill Kind = "kill"
	// Fail gives the pod up for Reason and Message.
	Fail Kind = "fail"
	// AllAgain marks every container to be followed by another attempt.
	AllAgain Kind = "all again"
	// Finish writes the last status and takes the pod out of the API.
	Finish Kind = "finish"
)

// Action is one step; those of one plan may run side by side.
type Action struct {
	Kind      Kind
	Container string
	// Attempt of a Start: 0 for the first.
	Attempt int
	// Deadline of a Kill is when it stops being graceful.
	Deadline        time.Time
	Reason, Message string
	// Fast leaves out a Kill's preStop hook and its stop signal.
	Fast bool
}

// Input is the snapshot that a plan is made on.
type Input struct {
	Pod      *corev1.Pod
	Observed *status.Observed
	Now      time.Time
	// SetUp says that the hooks are done; TornDown that they are undone.
	SetUp, TornDown bool
	// Ending is set once the pod has to go.
	Ending *Ending
	// Busy are the containers that an action is under way for; the pod's own
	// actions are under "".
	Busy map[string]bool
	// Unhealthy are running containers that a liveness or startup probe has
	// given up, with what it said.
	Unhealthy map[string]Verdict
	// Retry is when a set-up that did not succeed may be tried again.
	Retry time.Time
}

// Ending is the end of a pod.
type Ending struct {
	// Deadline is when containers are killed that have not ended.
	Deadline time.Time
	// Delete says that the API wants the pod gone; otherwise it stays with its
	// final status.
	Delete bool
}

// Verdict is a probe's reason to kill a container.
type Verdict struct {
	Message string
	// Resize says that it is no probe's word: the container restarts to get
	// other resources.
	Resize bool
	// Grace is how long the container has to stop.
	Grace time.Duration
}

func (v Verdict) reason() string {
	if v.Resize {
		return Resized
	}
	return "Unhealthy"
}

const (
	// Resized is the reason of a Kill that gives a container other resources.
	Resized = "Resized"
	// Restarting is that of one which restarts with all others of its pod.
	Restarting = "RestartAllContainers"
)

// Plan is what to do now and when to ask again at the latest.
type Plan struct {
	Actions []Action
	// Wake is zero when only a change can make a difference.
	Wake time.Time
	// Waiting are containers held back, for their status.
	Waiting map[string]status.Waiting
	// Stopped says that nothing of the pod runs and nothing will be started.
	Stopped bool
}

// Make plans the next step of a pod.
func Make(in Input) Plan {
	m := &maker{Input: in, plan: Plan{Waiting: map[string]status.Waiting{}}}
	switch {
	case in.Ending != nil:
		m.end()
	case Complete(in.Pod, in.Observed):
		m.end()
	case m.late():
		m.act(Action{Kind: Fail, Reason: "DeadlineExceeded",
			Message: "Pod was active on the node longer than the specified deadline"})
	case !in.SetUp:
		m.setUp()
	default:
		m.run()
	}
	return m.plan
}

type maker struct {
	Input
	plan Plan
}

func (m *maker) act(a Action) { m.plan.Actions = append(m.plan.Actions, a) }

func (m *maker) wake(t time.Time) {
	if m.plan.Wake.IsZero() || t.Before(m.plan.Wake) {
		m.plan.Wake = t
	}
}

func (m *maker) setUp() {
	switch {
	case m.Busy[""]:
	case m.Now.Before(m.Retry):
		m.wake(m.Retry)
	default:
		m.act(Action{Kind: SetUp})
	}
}

// late tells whether the pod's active deadline has passed.
func (m *maker) late() bool {
	limit := m.Pod.Spec.ActiveDeadlineSeconds
	if limit == nil || m.Observed.StartTime.IsZero() {
		return false
	}
	at := m.Observed.StartTime.Add(time.Duration(*limit) * time.Second)
	if m.Now.Before(at) {
		m.wake(at)
		return false
	}
	return true
}

// run starts what should run and kills what a probe gave up.
func (m *maker) run() {
	if m.allAgain() {
		return
	}
	if m.initialize() {
		for i := range m.Pod.Spec.Containers {
			c := &m.Pod.Spec.Containers[i]
			m.keep(c, status.Restarts(m.Pod, c, m.Observed.Containers[c.Name]))
		}
	}
	for i := range m.Pod.Spec.EphemeralContainers {
		c := corev1.Container(m.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		m.keep(&c, false)
	}
}

// initialize drives the init containers and tells whether the others may run.
func (m *maker) initialize() bool {
	begun := m.begun()
	for i := range m.Pod.Spec.InitContainers {
		c := &m.Pod.Spec.InitContainers[i]
		o := m.Observed.Containers[c.Name]
		if status.Restartable(c) {
			m.keep(c, true)
			if !begun && (!o.Running() || !o.StartedUp) {
				return false
			}
			continue
		}
		if begun || o.Succeeded() && !o.Stale && !o.Again {
			continue
		}
		m.keep(c, o.Exited())
		return false
	}
	return true
}

// begun tells whether one of the pod's own containers has been made in this
// sandbox: its init containers are through then.
func (m *maker) begun() bool {
	return slices.ContainsFunc(m.Pod.Spec.Containers, func(c corev1.Container) bool {
		o := m.Observed.Containers[c.Name]
		return o.Created() && !o.Stale && !o.Again
	})
}

// keep starts a container that has not run, or that has ended and restarts,
// and kills one that is unhealthy.
func (m *maker) keep(c *corev1.Container, restart bool) {
	o := m.Observed.Containers[c.Name]
	switch {
	case m.Busy[c.Name]:
	case o.Running():
		if v, ok := m.Unhealthy[c.Name]; ok {
			m.act(Action{Kind: Kill, Container: c.Name, Deadline: m.Now.Add(v.Grace), Reason: v.reason(), Message: v.Message})
		}
	case o.Exited() && !restart:
	default:
		m.start(c, o)
	}
}

func (m *maker) start(c *corev1.Container, o *status.Container) {
	if o == nil {
		m.act(Action{Kind: Start, Container: c.Name})
		return
	}
	if m.Now.Before(o.Retry) {
		m.wake(o.Retry)
		return
	}
	attempt := o.Attempt
	if o.Exited() {
		delay := Delay(o.Crashes)
		if at := o.Finished.Add(delay); delay > 0 && m.Now.Before(at) {
			m.wake(at)
			m.plan.Waiting[c.Name] = status.Waiting{Reason: "CrashLoopBackOff",
				Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", delay, c.Name, m.Pod.Name, m.Pod.Namespace, m.Pod.UID)}
			return
		}
		attempt++
	}
	m.act(Action{Kind: Start, Container: c.Name, Attempt: attempt})
}

// end stops the containers, sidecars after the others and last first, and
// then undoes the pod.
func (m *maker) end() {
	deadline := m.Now.Add(Grace(m.Pod))
	if m.Ending != nil {
		deadline = m.Ending.Deadline
	}
	waiting := false
	kill := func(name string) {
		waiting = waiting || m.Busy[name]
		if m.Observed.Containers[name].Running() {
			waiting = true
			if !m.Busy[name] {
				m.act(Action{Kind: Kill, Container: name, Deadline: deadline})
			}
		}
	}
	for i := range m.Pod.Spec.EphemeralContainers {
		kill(m.Pod.Spec.EphemeralContainers[i].Name)
	}
	for i := range m.Pod.Spec.Containers {
		kill(m.Pod.Spec.Containers[i].Name)
	}
	for i := range m.Pod.Spec.InitContainers {
		if !status.Restartable(&m.Pod.Spec.InitContainers[i]) {
			kill(m.Pod.Spec.InitContainers[i].Name)
		}
	}
	for i := len(m.Pod.Spec.InitContainers) - 1; i >= 0 && !waiting; i-- {
		if status.Restartable(&m.Pod.Spec.InitContainers[i]) {
			kill(m.Pod.Spec.InitContainers[i].Name)
		}
	}
	if waiting {
		return
	}
	m.plan.Stopped = true
	switch {
	case m.Busy[""]:
	case !m.TornDown:
		if m.Now.Before(m.Retry) {
			m.wake(m.Retry)
			return
		}
		m.act(Action{Kind: TearDown})
	case m.Ending != nil && m.Ending.Delete:
		m.act(Action{Kind: Finish})
	}
}

// Complete tells whether a pod has come to its end by itself: every container
// has ended and none restarts, or an init container failed for good.
func Complete(pod *corev1.Pod, o *status.Observed) bool {
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; !status.Restartable(c) && status.FailedForGood(pod, c, o.Containers[c.Name]) {
			return !restartsAll(pod, o)
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if at := o.Containers[c.Name]; !at.Exited() || status.Restarts(pod, c, at) {
			return false
		}
	}
	return len(pod.Spec.Containers) > 0 && !restartsAll(pod, o)
}

// Grace is how long the pod's containers have to stop.
func Grace(pod *corev1.Pod) time.Duration {
	seconds := int64(30)
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		seconds = *s
	}
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		seconds = *s
	}
	return time.Duration(max(seconds, 1)) * time.Second
}
