package nodeagent

import (
	"context"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/headway-sh/headway/nodeagent/env"
	"github.com/headway-sh/headway/nodeagent/network"
	"github.com/headway-sh/headway/nodeagent/plan"
)

// facts are what the pod's own fields say at this moment.
func (w *worker) facts() env.Facts {
	f := env.Facts{Pod: w.current(), NodeName: w.agent.NodeName, HostIPs: w.hostIPs(), PodIPs: w.podIPs()}
	if w.agent.Allocatable != nil {
		f.Allocatable = w.agent.Allocatable()
	}
	return f
}

// current is the pod as last heard, for whoever runs beside the worker.
func (w *worker) current() *corev1.Pod { return w.shared.Load().pod }

func (w *worker) hostIPs() []string {
	ips := make([]string, 0, len(w.agent.HostIPs))
	for _, ip := range w.agent.HostIPs {
		ips = append(ips, ip.String())
	}
	return ips
}

func (w *worker) podIPs() []string {
	w.sandbox.mu.Lock()
	defer w.sandbox.mu.Unlock()
	return slices.Clone(w.sandbox.ips)
}

func (w *worker) podIP() string {
	if ips := w.podIPs(); len(ips) > 0 {
		return ips[0]
	}
	return ""
}

func (w *worker) setIPs(ips []string) {
	w.sandbox.mu.Lock()
	defer w.sandbox.mu.Unlock()
	w.sandbox.ips = slices.Clone(ips)
}

// files are the network's files of a pod; the node's own are read anew.
func (a *Agent) files(pod *corev1.Pod, ips []string) network.PodFiles {
	f := network.PodFiles{
		Pod: pod, Hostname: hostname(pod, a.NodeName), KernelName: a.kernelName(pod), PodIPs: ips,
		ClusterDNS: a.ClusterDNS, ClusterDomain: a.ClusterDomain,
	}
	// A node without these files has nothing to hand on.
	if data, err := os.ReadFile(a.ResolvConf); err == nil {
		f.NodeResolv = string(data)
	}
	if data, err := os.ReadFile("/etc/hosts"); err == nil && pod.Spec.HostNetwork {
		f.NodeHosts = string(data)
	}
	return f
}

func (w *worker) upDirectories(context.Context) error {
	for _, dir := range []string{w.agent.podDir(w.uid), w.agent.LogDir(w.current())} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

const (
	// maxHostname is how long one label of a name is at most.
	maxHostname = 63
	// maxKernelName is what the kernel takes.
	maxKernelName = 64
)

func hostname(pod *corev1.Pod, node string) string {
	name := pod.Name
	switch {
	case pod.Spec.HostNetwork:
		name = node
	case pod.Spec.HostnameOverride != nil:
		name = *pod.Spec.HostnameOverride
	case pod.Spec.Hostname != "":
		name = pod.Spec.Hostname
	}
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	return name
}

// kernelName is the host name that the kernel tells the pod's processes: the
// whole name in the cluster's DNS if the pod wants that and has one.
func (a *Agent) kernelName(pod *corev1.Pod) string {
	name := hostname(pod, a.NodeName)
	if full := pod.Spec.SetHostnameAsFQDN; full == nil || !*full || pod.Spec.HostNetwork || pod.Spec.HostnameOverride != nil {
		return name
	}
	return network.FQDN(network.PodFiles{Pod: pod, Hostname: name, ClusterDomain: a.ClusterDomain})
}

func sysctls(pod *corev1.Pod) map[string]string {
	if pod.Spec.SecurityContext == nil || len(pod.Spec.SecurityContext.Sysctls) == 0 {
		return nil
	}
	all := map[string]string{}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		all[plan.SysctlName(s.Name)] = s.Value
	}
	return all
}

// refreshVolumes rewrites what is written from API objects, after one of them
// or the pod has changed.
func (w *worker) refreshVolumes() {
	if !w.setUp {
		w.retry = w.agent.Clock.Now() // what was missing may be there now
		return
	}
	if w.ending != nil || w.refreshing {
		w.again = w.refreshing
		return
	}
	w.refreshing, w.again = true, false
	ctx := w.life
	w.group.Go(func() {
		err := w.agent.volumes.Refresh(ctx, w.current(), w.facts())
		w.post(func() {
			w.refreshing = false
			w.renew = w.agent.volumes.NextRefresh(w.uid)
			if err != nil && ctx.Err() == nil {
				w.event1("", corev1.EventTypeWarning, "FailedMount", err.Error())
				w.renew = w.agent.Clock.Now().Add(soon(4))
			}
			if w.again {
				w.refreshVolumes()
			}
		})
	})
}

// removeContainers removes all attempts that the runtime still has.
func (w *worker) removeContainers(ctx context.Context) error {
	for _, id := range w.shared.Load().ids {
		if id == "" {
			continue
		}
		w.runtimeMu.Lock()
		err := w.agent.Runtime.Remove(ctx, id)
		w.runtimeMu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// gone tells whether a delete found that there is nothing to delete: no such
// pod, or another one under the name.
func gone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err)
}
