package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/internal/failpoint"
	"github.com/headway-sh/headway/nodeagent/env"
	"github.com/headway-sh/headway/nodeagent/plan"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/status"
)

// startFailure is a start that has to be tried again, with the words for the
// pod's status and its event.
type startFailure struct {
	reason, message string
	event           string
	// image is the one that could not be had.
	image string
	// again waits by the back-off of image pulls rather than a moment. What has
	// happened is told already: the event names the reason alone.
	again bool
	// exited says that the runtime has made an attempt that counts as ended.
	exited   bool
	exitCode int
}

func (e *startFailure) Error() string { return e.reason + ": " + e.message }

// startContainer begins the next attempt of a container.
func (w *worker) startContainer(ctx context.Context, a plan.Action) {
	c := w.container(a.Container)
	if c == nil {
		return
	}
	o := w.observed.Containers[c.Name]
	if o == nil {
		o = &status.Container{}
		w.observed.Containers[c.Name] = o
	}
	ctx, cancel := context.WithCancel(ctx)
	w.starts[c.Name] = cancel
	attempt := &attempt{worker: w, spec: w.granted(c, o), number: a.Attempt, previous: o.ID, again: o.Again, pod: w.pod, facts: w.facts()}
	w.spawn(ctx, c.Name, func(ctx context.Context) func() {
		err := attempt.run(ctx)
		return func() {
			defer cancel()
			delete(w.starts, c.Name)
			w.started(c, attempt, err, ctx.Err() != nil)
		}
	})
}

// started takes the end of a start.
func (w *worker) started(c *corev1.Container, a *attempt, err error, canceled bool) {
	o := w.observed.Containers[c.Name]
	o.Starting = false
	if err == nil {
		delete(w.pulls, c.Name)
		o.Retry = time.Time{}
		w.watchProbes(c, o)
		return
	}
	if canceled || w.ending != nil {
		return
	}
	var failure *startFailure
	if !errors.As(err, &failure) {
		failure = &startFailure{reason: "RunContainerError", message: err.Error(), event: "Failed"}
	}
	if !failure.again {
		w.event1(c.Name, corev1.EventTypeWarning, failure.event, "Error: "+failure.message)
	}
	now := w.agent.Clock.Now()
	switch {
	case failure.exited:
		if !o.Exited() {
			w.ended(c.Name, o, failure.exitCode, now)
		}
		o.Reason, o.Message = failure.reason, failure.message
	case failure.again:
		w.pulls[c.Name]++
		o.Retry = now.Add(plan.Doubled(w.pulls[c.Name]))
		reason := failure.reason
		if w.pulls[c.Name] > 1 && reason == "ErrImagePull" {
			reason = "ImagePullBackOff"
			w.event1(c.Name, corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", failure.image))
			failure.message = fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", failure.image, failure.message)
		}
		w.event1(c.Name, corev1.EventTypeWarning, "Failed", "Error: "+reason)
		o.Waiting = &status.Waiting{Reason: reason, Message: failure.message}
	default:
		w.pulls[c.Name]++
		o.Retry = now.Add(soon(w.pulls[c.Name]))
		o.Waiting = &status.Waiting{Reason: failure.reason, Message: failure.message}
	}
}

// attempt is one try to make and start a container. It runs beside the worker
// and posts to it what has happened.
type attempt struct {
	worker   *worker
	pod      *corev1.Pod
	spec     *corev1.Container
	number   int
	again    bool   // it follows an end that restarts all containers
	previous string // the attempt before, to be removed
	facts    env.Facts
}

func (a *attempt) run(ctx context.Context) error {
	w := a.worker
	image, err := w.image(ctx, a.spec)
	if err != nil {
		return err
	}
	paths, err := w.volumePaths(ctx, a)
	if err != nil {
		return err
	}
	config, err := w.containerConfig(ctx, a, image, paths)
	if err != nil {
		return &startFailure{reason: "CreateContainerConfigError", message: err.Error(), event: "Failed"}
	}
	if err := a.forget(); err != nil {
		return &startFailure{reason: "CreateContainerError", message: err.Error(), event: "Failed"}
	}
	if err := failpoint.Hit(ctx, "nodeagent.create.before"); err != nil {
		return err
	}
	id, err := a.create(ctx, config)
	if err != nil {
		return &startFailure{reason: "CreateContainerError", message: err.Error(), event: "Failed"}
	}
	user, err := w.agent.Runtime.User(ctx, id)
	if err != nil {
		return err
	}
	w.post(func() { w.created(a, id, image, config.LogPath, user) })
	w.event1(a.spec.Name, corev1.EventTypeNormal, "Created", "Container created")
	leave := w.agent.place(ctx)
	w.runtimeMu.Lock()
	err = w.agent.Runtime.Start(ctx, id)
	w.runtimeMu.Unlock()
	leave()
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		failure := &startFailure{reason: "StartError", message: err.Error(), event: "Failed", exited: true, exitCode: 128}
		if e := (*runtime.StartError)(nil); errors.As(err, &e) {
			failure.reason, failure.exitCode = e.Reason, e.ExitCode
		}
		return failure
	}
	w.event1(a.spec.Name, corev1.EventTypeNormal, "Started", "Container started")
	w.post(func() { w.running(a.spec.Name, id, w.agent.Clock.Now()) })
	return a.postStart(ctx, id)
}

// forget removes the log and message of the attempt before the previous one.
func (a *attempt) forget() error {
	if a.number < 2 {
		return nil
	}
	old, err := filepath.Glob(a.worker.logPath(a.spec.Name, a.number-2) + "*") // with what was rotated
	if err != nil {
		return err
	}
	for _, path := range append(old, a.worker.messagePath(a.spec.Name, a.number-2)) {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove old log: %w", err)
		}
	}
	return nil
}

// create makes the container in place of the attempt before it.
func (a *attempt) create(ctx context.Context, config runtime.ContainerConfig) (string, error) {
	w := a.worker
	w.runtimeMu.Lock()
	defer w.runtimeMu.Unlock()
	if a.previous != "" {
		if err := w.agent.Runtime.Remove(ctx, a.previous); err != nil {
			return "", fmt.Errorf("remove attempt %d: %w", a.number-1, err)
		}
	}
	return w.agent.Runtime.Create(ctx, config)
}

// postStart runs the container's hook; when it fails the container is killed
// and the attempt counts as ended.
func (a *attempt) postStart(ctx context.Context, id string) error {
	if a.spec.Lifecycle == nil || a.spec.Lifecycle.PostStart == nil {
		return nil
	}
	w := a.worker
	err := w.handle(ctx, a.spec, id, a.spec.Lifecycle.PostStart)
	if err == nil || ctx.Err() != nil {
		return nil
	}
	// What the hook has written may be secret: the event does not repeat it.
	w.event1(a.spec.Name, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
	w.agent.Logger.Info("postStart hook failed", "pod", podName(w.current()), "container", a.spec.Name, "err", err)
	w.post(func() {
		w.unhealthy[a.spec.Name] = plan.Verdict{Message: "FailedPostStartHook", Grace: plan.Grace(w.current())}
	})
	return nil
}

// created notes a new attempt: what was before becomes the last state.
func (w *worker) created(a *attempt, id string, image runtime.Image, logPath string, user *runtime.User) {
	old := w.observed.Containers[a.spec.Name]
	o := &status.Container{
		ID: id, Attempt: a.number, State: runtime.StateCreated, LogPath: logPath,
		Image: imageName(a.spec.Image, image), ImageID: imageID(image),
		Last: old.Last, Crashes: old.Crashes, Resources: a.spec.Resources.DeepCopy(),
		User: linuxUser(user), StopSignal: signalName(stopSignal(a.spec, image)),
	}
	// One that began before all containers were to restart is to restart too.
	o.Again = old.Again && !a.again
	if old.Exited() && old.ID != id {
		o.Last = status.Terminated(old, w.agent.RuntimeName)
	}
	o.Starting = a.spec.Lifecycle != nil && a.spec.Lifecycle.PostStart != nil
	w.observed.Containers[a.spec.Name] = o
	w.exits[id] = make(chan struct{})
	delete(w.unhealthy, a.spec.Name)
}

// running notes that a container's process runs.
func (w *worker) running(name, id string, since time.Time) {
	o := w.observed.Containers[name]
	if o == nil || o.ID != id || o.State != runtime.StateCreated {
		return
	}
	o.State, o.Started, o.Waiting = runtime.StateRunning, since, nil
	c := w.container(name)
	if c == nil {
		return
	}
	o.StartedUp = c.StartupProbe == nil
	o.Ready = c.ReadinessProbe == nil
}

// logPath is where an attempt's output goes.
func (w *worker) logPath(name string, attempt int) string {
	return filepath.Join(w.agent.LogDir(w.current()), name, strconv.Itoa(attempt)+".log")
}

// container finds a container of any list of the pod.
func (w *worker) container(name string) *corev1.Container {
	s := &w.pod.Spec
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range s.EphemeralContainers {
		if s.EphemeralContainers[i].Name == name {
			c := corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
			return &c
		}
	}
	return nil
}

// soon is the wait after the n-th failure of something that may pass quickly:
// half a second, doubled up to two minutes.
func soon(n int) time.Duration {
	return min(500*time.Millisecond<<min(n-1, 8), 2*time.Minute)
}
