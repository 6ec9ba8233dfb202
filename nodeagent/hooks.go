package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/failpoint"
	"github.com/headway-sh/headway/nodeagent/network"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

// hook is one thing that happens around a pod's containers. Both of its
// functions are idempotent and may be nil.
type hook struct {
	name string
	// after names hooks that have to be done before; others run beside.
	after    []string
	up, down func(context.Context) error
	// event is the reason of the pod's event when up does not succeed.
	event string
}

// podHooks is what happens to every pod, in order; it is undone from the end.
// The containers come after all of it, and before anything is undone.
func (w *worker) podHooks() []hook {
	return []hook{
		// The runtime puts the sandbox and containers below the pod's cgroup.
		{name: "cgroup", up: w.upCgroup, down: w.downCgroup, event: "FailedCreatePodContainer"},
		// Volumes and files that are mounted have to have a place.
		{name: "directories", up: w.upDirectories, down: nil, event: "FailedMount"},
		{name: "volumes", after: []string{"directories"}, up: w.upVolumes, down: w.downVolumes, event: "FailedMount"},
		// Looks images up beside everything else; who is missing one pulls it
		// when its container starts, so that no pull holds up the pod's address.
		{name: "images", up: w.upImages, event: "Failed"},
		{name: "sandbox", after: []string{"cgroup"}, up: w.upSandbox, down: w.downSandbox, event: "FailedCreatePodSandBox"},
		// Addresses need the namespace; env and hosts files need addresses.
		{name: "network", after: []string{"sandbox"}, up: w.upNetwork, down: w.downNetwork, event: "FailedCreatePodSandBox"},
		// Policies are about addresses, and have to be in force before anything of
		// the pod can send or listen.
		{name: "isolation", after: []string{"network"}, up: w.upIsolation, down: w.downIsolation, event: "FailedCreatePodSandBox"},
		{name: "files", after: []string{"network", "directories"}, up: w.upFiles, event: "FailedMount"},
	}
}

// hookError is a hook that did not succeed.
type hookError struct {
	hook hook
	err  error
}

func (e *hookError) Error() string { return fmt.Sprintf("%s: %v", e.hook.name, e.err) }
func (e *hookError) Unwrap() error { return e.err }

// climb runs all hooks, each as soon as those it comes after are done.
func climb(ctx context.Context, hooks []hook) error {
	done := map[string]chan struct{}{}
	for _, h := range hooks {
		done[h.name] = make(chan struct{})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(hooks))
	var group sync.WaitGroup
	for i, h := range hooks {
		group.Go(func() {
			for _, name := range h.after {
				select {
				case <-done[name]:
				case <-ctx.Done():
					return
				}
			}
			if h.up != nil {
				if err := h.up(ctx); err != nil {
					errs[i] = &hookError{h, err}
					cancel()
					return
				}
			}
			close(done[h.name])
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(errs...)
}

// descend undoes all hooks from the end and goes on after an error.
func descend(ctx context.Context, hooks []hook) error {
	var errs []error
	for _, h := range slices.Backward(hooks) {
		if h.down != nil {
			if err := h.down(ctx); err != nil {
				errs = append(errs, &hookError{h, err})
			}
		}
	}
	return errors.Join(errs...)
}

func (w *worker) setUpPod(ctx context.Context) func() {
	err := failpoint.Hit(ctx, "nodeagent.setup.before")
	if err == nil {
		err = climb(ctx, w.hooks)
	}
	return func() {
		if err == nil {
			w.setUp, w.failures = true, 0
			w.observed.SandboxReady, w.observed.PodIPs = true, w.podIPs()
			if w.observed.Resources == nil {
				w.observed.Resources = w.pod.Spec.Resources.DeepCopy()
			}
			w.renew = w.agent.volumes.NextRefresh(w.uid)
			return
		}
		if ctx.Err() != nil || w.ending != nil {
			return
		}
		w.failures++
		w.retry = w.agent.Clock.Now().Add(soon(w.failures))
		event := "FailedCreatePodSandBox"
		if h := (*hookError)(nil); errors.As(err, &h) {
			event = h.hook.event
		}
		w.agent.Recorder.Event(w.pod, corev1.EventTypeWarning, event, err.Error())
	}
}

func (w *worker) tearDownPod(ctx context.Context) func() {
	err := w.removeContainers(ctx)
	if err == nil {
		err = descend(ctx, w.hooks)
	}
	return func() {
		if err == nil {
			w.tornDown, w.setUp, w.failures = true, false, 0
			w.observed.SandboxReady = false
			return
		}
		if ctx.Err() != nil {
			return
		}
		w.failures++
		w.retry = w.agent.Clock.Now().Add(soon(w.failures))
		w.agent.Logger.Warn("pod not taken down", "pod", podName(w.pod), "err", err)
		w.agent.Recorder.Event(w.pod, corev1.EventTypeWarning, "FailedKillPod", err.Error())
	}
}

// finishPod lets go of the pod: its last status is in the API before the API
// is told that the node is done with it, and the disk is cleared last.
func (w *worker) finishPod(ctx context.Context) func() {
	err := w.deleteFromAPI(ctx)
	if err == nil {
		err = errors.Join(os.RemoveAll(w.agent.LogDir(w.current())), w.agent.saved.Remove(w.uid))
	}
	return func() {
		if err == nil {
			w.finished = true
			w.agent.writer.Forget(w.uid)
			if w.mirror.pod != nil {
				w.agent.writer.Forget(w.mirror.pod.UID)
			}
			return
		}
		if ctx.Err() != nil {
			return
		}
		w.failures++
		w.retry = w.agent.Clock.Now().Add(soon(w.failures))
		w.agent.Logger.Warn("pod not deleted", "pod", podName(w.pod), "err", err)
	}
}

func (w *worker) deleteFromAPI(ctx context.Context) error {
	s := w.shared.Load()
	if w.static {
		if s.mirror == nil {
			return nil
		}
		return errors.Join(w.agent.writer.Flush(ctx, s.mirror.UID), w.agent.deleteMirror(ctx, s.mirror))
	}
	if s.absent {
		return nil
	}
	if err := w.agent.writer.Flush(ctx, w.uid); err != nil {
		return err
	}
	if err := failpoint.Hit(ctx, "nodeagent.delete.before"); err != nil {
		return err
	}
	err := w.agent.Client.Delete(ctx, w.current(), client.GracePeriodSeconds(0), client.Preconditions{UID: &w.uid})
	if gone(err) {
		return nil
	}
	return err
}

func (w *worker) upCgroup(context.Context) error {
	path, err := w.agent.Cgroups.Ensure(w.current())
	w.sandbox.mu.Lock()
	w.sandbox.cgroupParent = path
	w.sandbox.mu.Unlock()
	return err
}

func (w *worker) downCgroup(context.Context) error { return w.agent.Cgroups.Remove(w.uid) }

func (w *worker) upVolumes(ctx context.Context) error {
	paths, err := w.agent.volumes.SetUp(ctx, w.current(), w.facts())
	w.sandbox.mu.Lock()
	w.sandbox.volumes = paths
	w.sandbox.mu.Unlock()
	return err
}

func (w *worker) downVolumes(context.Context) error {
	w.agent.objects.Release(w.uid)
	return w.agent.volumes.TearDown(w.uid)
}

func (w *worker) upSandbox(ctx context.Context) error {
	pod := w.current()
	name := w.agent.kernelName(pod)
	if len(name) > maxKernelName {
		return fmt.Errorf("hostname %q is too long: %d characters, the kernel takes %d", name, len(name), maxKernelName)
	}
	handler, err := w.handler(ctx, pod)
	if err != nil {
		return err
	}
	w.sandbox.mu.Lock()
	parent := w.sandbox.cgroupParent
	w.sandbox.mu.Unlock()
	w.runtimeMu.Lock()
	s, err := w.agent.Runtime.StartSandbox(ctx, runtime.SandboxConfig{
		PodUID: string(w.uid), PodName: pod.Name, PodNamespace: pod.Namespace,
		Hostname:    name,
		HostNetwork: pod.Spec.HostNetwork, HostPID: pod.Spec.HostPID, HostIPC: pod.Spec.HostIPC,
		ShareProcessNamespace: pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace,
		CgroupParent:          parent,
		Handler:               handler,
		Sysctls:               sysctls(pod),
		Labels: map[string]string{
			"io.kubernetes.pod.uid": string(w.uid), "io.kubernetes.pod.name": pod.Name, "io.kubernetes.pod.namespace": pod.Namespace,
		},
	})
	w.runtimeMu.Unlock()
	w.sandbox.mu.Lock()
	w.sandbox.netns = s.NetNS
	w.sandbox.mu.Unlock()
	return err
}

func (w *worker) downSandbox(ctx context.Context) error {
	w.runtimeMu.Lock()
	defer w.runtimeMu.Unlock()
	if err := w.agent.Runtime.StopSandbox(ctx, string(w.uid)); err != nil {
		return err
	}
	return w.agent.Runtime.RemoveSandbox(ctx, string(w.uid))
}

func (w *worker) upNetwork(ctx context.Context) error {
	if w.current().Spec.HostNetwork {
		w.setIPs(w.hostIPs())
		return nil
	}
	w.sandbox.mu.Lock()
	netns := w.sandbox.netns
	w.sandbox.mu.Unlock()
	addresses, err := w.agent.Network.Attach(ctx, w.current(), netns)
	if err != nil {
		return err
	}
	ips := make([]string, 0, len(addresses))
	for _, a := range addresses {
		ips = append(ips, a.String())
	}
	w.setIPs(ips)
	return nil
}

func (w *worker) upIsolation(ctx context.Context) error {
	if w.agent.Policies == nil || w.current().Spec.HostNetwork {
		return nil
	}
	var addresses []netip.Addr
	for _, text := range w.podIPs() {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("isolate pod: %w", err)
		}
		addresses = append(addresses, a)
	}
	return w.agent.Policies.Isolate(ctx, w.current(), addresses)
}

func (w *worker) downIsolation(context.Context) error {
	if w.agent.Policies != nil {
		w.agent.Policies.Release(w.uid)
	}
	return nil
}

func (w *worker) downNetwork(ctx context.Context) error { return w.agent.Network.Detach(ctx, w.uid) }

func (w *worker) upFiles(context.Context) error {
	return network.Files(w.agent.podDir(w.uid), w.agent.files(w.current(), w.podIPs()))
}
