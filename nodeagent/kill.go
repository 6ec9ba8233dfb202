package nodeagent

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/plan"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

// forceInterval is how long a container is waited for after SIGKILL before the
// signal is sent again.
const forceInterval = 5 * time.Second

// kill is a container on its way out.
type kill struct {
	mu       sync.Mutex // guards deadline
	deadline time.Time
	fast     bool          // neither preStop nor the stop signal
	sooner   chan struct{} // gets a value when deadline has moved
}

func (k *kill) hasten(to time.Time) {
	k.mu.Lock()
	moved := to.Before(k.deadline)
	if moved {
		k.deadline = to
	}
	k.mu.Unlock()
	if moved {
		select {
		case k.sooner <- struct{}{}:
		default:
		}
	}
}

func (k *kill) when() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deadline
}

// killContainer begins to stop a running container: preStop, its stop signal,
// and SIGKILL at the deadline.
func (w *worker) killContainer(ctx context.Context, a plan.Action) {
	c, o := w.container(a.Container), w.observed.Containers[a.Container]
	if c == nil || o == nil {
		return
	}
	exited := w.exits[o.ID]
	if exited == nil {
		return
	}
	message := "Stopping container " + a.Container
	switch {
	case a.Reason == plan.Restarting:
		message = "Container " + a.Container + " restarts with all containers of the pod"
	case a.Reason == plan.Resized:
		message = "Container " + a.Container + " resize requires restart"
	case a.Message == "FailedPostStartHook":
		message = a.Message
	case a.Message != "":
		message = "Container " + a.Container + " failed " + a.Message + ", will be restarted"
	}
	w.event1(a.Container, corev1.EventTypeNormal, "Killing", message)
	w.probes.Quiet(a.Container)
	k := &kill{deadline: a.Deadline, fast: a.Fast, sooner: make(chan struct{}, 1)}
	w.kills[a.Container] = k
	id := o.ID
	w.spawn(ctx, a.Container, func(ctx context.Context) func() {
		w.stop(ctx, c, id, k, exited)
		return func() { delete(w.kills, a.Container) }
	})
}

// stop returns when the container has ended or ctx has.
func (w *worker) stop(ctx context.Context, c *corev1.Container, id string, k *kill, exited <-chan struct{}) {
	if !k.fast {
		if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
			w.preStop(ctx, c, id, k, exited)
		}
		w.signal(ctx, id, w.stopSignal(ctx, c))
	}
	for {
		now := w.agent.Clock.Now()
		left := k.when().Sub(now)
		if left <= 0 {
			w.signal(ctx, id, int(unix.SIGKILL))
			left = forceInterval
		}
		timer := w.agent.Clock.NewTimer(left)
		select {
		case <-exited:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		case <-k.sooner:
			timer.Stop()
		}
	}
}

// preStop runs the container's hook until it ends, the container does, or the
// deadline has come.
func (w *worker) preStop(ctx context.Context, c *corev1.Container, id string, k *kill, exited <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	w.group.Go(func() { done <- w.handle(ctx, c, id, c.Lifecycle.PreStop) })
	for {
		timer := w.agent.Clock.NewTimer(max(k.when().Sub(w.agent.Clock.Now()), 0))
		select {
		case err := <-done:
			timer.Stop()
			if err != nil && ctx.Err() == nil {
				// What the hook has written may be secret: the event does not repeat it.
				w.event1(c.Name, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
				w.agent.Logger.Info("preStop hook failed", "pod", podName(w.current()), "container", c.Name, "err", err)
			}
			return
		case <-k.sooner:
			timer.Stop()
		case <-timer.C():
			// The container still gets its signal and two seconds to heed it.
			k.mu.Lock()
			k.deadline = w.agent.Clock.Now().Add(2 * time.Second)
			k.mu.Unlock()
			return
		case <-exited:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (w *worker) signal(ctx context.Context, id string, signal int) {
	w.runtimeMu.Lock()
	err := w.agent.Runtime.Signal(ctx, id, signal)
	w.runtimeMu.Unlock()
	if err != nil && ctx.Err() == nil {
		w.agent.Logger.Warn("container not signalled", "pod", podName(w.shared.Load().pod), "id", id, "err", err)
	}
}

// stopSignal looks the image up: one that is gone has no word.
func (w *worker) stopSignal(ctx context.Context, c *corev1.Container) int {
	image, err := w.agent.Runtime.Image(ctx, c.Image)
	if err != nil {
		image.StopSignal = ""
	}
	return signalNumber(stopSignal(c, image))
}

// stopSignal is the pod's word, else the image's, else SIGTERM.
func stopSignal(c *corev1.Container, image runtime.Image) string {
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		return string(*c.Lifecycle.StopSignal)
	}
	return image.StopSignal
}

// signalName is a signal as the API writes it; empty for one it has no word for.
func signalName(name string) string {
	n := signalNumber(name)
	switch base := 34; {
	case n == base:
		return "SIGRTMIN"
	case n > base && n < 64:
		return "SIGRTMIN+" + strconv.Itoa(n-base)
	}
	return unix.SignalName(unix.Signal(n))
}

func signalNumber(name string) int {
	name = strings.ToUpper(strings.TrimSpace(name))
	if name == "" {
		return int(unix.SIGTERM)
	}
	if n := 0; name[0] >= '0' && name[0] <= '9' {
		for _, d := range name {
			if d < '0' || d > '9' {
				return int(unix.SIGTERM)
			}
			n = n*10 + int(d-'0')
		}
		return n
	}
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if base, ok := strings.CutPrefix(name, "SIGRTMIN+"); ok && len(base) > 0 && len(base) <= 2 {
		n := 0
		for _, d := range base {
			n = n*10 + int(d-'0')
		}
		return 34 + n
	}
	if s := unix.SignalNum(name); s != 0 {
		return int(s)
	}
	return int(unix.SIGTERM)
}
