package nodeagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/logs"
	"github.com/headway-sh/headway/nodeagent/plan"
	"github.com/headway-sh/headway/nodeagent/probe"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/status"
)

const (
	// maxOutput is how much of a hook's or probe's output goes into an event.
	maxOutput = 4 << 10
	// maxMessage is how long a termination message is, maxMessages those of all
	// of a pod's containers, which have equal shares (API reference).
	maxMessage, maxMessages = 4 << 10, 12 << 10
	// maxLogMessage and its lines stand in for a message that was not written.
	maxLogMessage, maxLogLines = 2 << 10, 80
)

// handle runs a postStart or preStop hook.
func (w *worker) handle(ctx context.Context, c *corev1.Container, id string, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		code, output, err := w.probeExec(ctx, id, h.Exec.Command, 0)
		if err != nil {
			return err
		}
		if code != 0 {
			return fmt.Errorf("command %q ended with exit code %d: %s", h.Exec.Command, code, output)
		}
		return nil
	case h.HTTPGet != nil:
		return probe.Get(ctx, h.HTTPGet, c, w.podIP())
	case h.TCPSocket != nil:
		return probe.Dial(ctx, h.TCPSocket, c, w.podIP())
	case h.Sleep != nil:
		timer := w.agent.Clock.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C():
		case <-ctx.Done():
		}
	}
	return nil
}

// probeExec runs a command in a container.
func (w *worker) probeExec(ctx context.Context, id string, command []string, timeout time.Duration) (int, string, error) {
	var output limited
	code, err := w.agent.Runtime.Exec(ctx, id, runtime.ExecConfig{
		Command: command, Timeout: timeout, Streams: runtime.Streams{Stdout: &output, Stderr: &output},
	})
	return code, output.String(), err
}

// limited keeps the beginning of what is written to it.
type limited struct{ buffer bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.buffer.Write(p[:min(len(p), maxOutput-l.buffer.Len())])
	return len(p), nil
}

func (l *limited) String() string { return l.buffer.String() }

// watchProbes begins a running container's probes.
func (w *worker) watchProbes(c *corev1.Container, o *status.Container) {
	if !o.Running() || o.Starting || w.ending != nil {
		return
	}
	w.probes.Begin(w.life, probe.Container{
		ID: o.ID, Spec: c, PodIP: w.podIP(), Started: o.Started, StartedUp: o.StartedUp,
		Report: func(r probe.Result) { w.post(func() { w.probed(r) }) },
	})
}

// probed takes a probe's result.
func (w *worker) probed(r probe.Result) {
	o := w.observed.Containers[r.Container]
	c := w.container(r.Container)
	if c == nil || !o.Running() || o.ID != r.ID || w.ending != nil && r.Kind != probe.Readiness {
		return
	}
	if r.Message != "" {
		w.event1(r.Container, corev1.EventTypeWarning, "Unhealthy", string(r.Kind)+" probe failed: "+r.Message)
	}
	if !r.Decided {
		return
	}
	switch {
	case r.Kind == probe.Readiness:
		o.Ready = r.Success
	case r.Success:
		o.StartedUp = o.StartedUp || r.Kind == probe.Startup
	default:
		spec := c.LivenessProbe
		if r.Kind == probe.Startup {
			spec = c.StartupProbe
		}
		grace := plan.Grace(w.pod)
		if spec != nil && spec.TerminationGracePeriodSeconds != nil {
			grace = time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second
		}
		word := "liveness probe"
		if r.Kind == probe.Startup {
			word = "startup probe"
		}
		w.unhealthy[r.Container] = plan.Verdict{Message: word, Grace: grace}
	}
}

// terminationMessage is what the container left as its last word.
func (w *worker) terminationMessage(c *corev1.Container, o *status.Container) string {
	limit := min(maxMessage, maxMessages/max(len(w.pod.Spec.InitContainers)+len(w.pod.Spec.Containers), 1))
	if c.TerminationMessagePath != "" {
		data, err := readHead(w.messagePath(c.Name, o.Attempt), limit)
		if err == nil && len(data) > 0 {
			return string(data)
		}
	}
	if c.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError || o.ExitCode == 0 || o.LogPath == "" {
		return ""
	}
	data, err := logs.Tail(o.LogPath, maxLogLines, min(maxLogMessage, limit))
	if err != nil {
		return ""
	}
	return string(data)
}

func readHead(path string, limit int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data := make([]byte, limit)
	n, err := file.Read(data)
	if n > 0 {
		err = nil
	}
	return data[:n], errors.Join(err)
}
