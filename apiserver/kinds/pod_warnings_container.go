package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// environment tells of a container's variables that hide one of their own name, unless they
// are made from it.
func (w *podWarner) environment(p *path, env []corev1.EnvVar) {
	var names nameSet
	for i := range env {
		e := &env[i]
		if names.add(e.Name) {
			continue
		}
		itself := "$(" + e.Name + ")"
		if e.ValueFrom != nil || e.Value == itself || !strings.Contains(e.Value, itself) {
			w.warn(p.Child("env").Index(i), "hides previous definition of %q, which may be dropped when using apply", e.Name)
		}
	}
}

// podPort is one port of one of a pod's containers.
type podPort struct {
	at *path
	corev1.ContainerPort
}

// ports tells of ports of a pod that are one, or seem to be.
func (w *podWarner) ports(p *path, s *corev1.PodSpec) {
	if n := len(s.Containers); n == 1 && len(s.InitContainers)+len(s.EphemeralContainers) == 0 && len(s.Containers[0].Ports) == 0 {
		return
	}
	var all []podPort
	eachContainer(p, s, func(at *path, c *corev1.Container) {
		for i := range c.Ports {
			all = append(all, podPort{at.Child("ports").Index(i), c.Ports[i]})
		}
	})
	named := map[string]*path{}
	for i := range all {
		port := &all[i]
		if port.HostIP != "" && port.HostPort == 0 {
			w.warn(port.at, "hostIP set without hostPort: %+v", port.ContainerPort)
		}
		for j := range all[:i] {
			w.twoPorts(port, &all[j])
		}
		if port.Name == "" {
			continue
		}
		if first, ok := named[port.Name]; ok {
			w.warn(port.at, "duplicate port name %q with %s, services and probes that select ports by name will use %s", port.Name, first, first)
		} else {
			named[port.Name] = port.at
		}
	}
}

func (w *podWarner) twoPorts(port, other *podPort) {
	if port.ContainerPort.ContainerPort != other.ContainerPort.ContainerPort || port.Protocol != other.Protocol {
		return
	}
	switch {
	case port.HostIP == other.HostIP && port.HostPort == other.HostPort:
		w.warn(port.at, "duplicate port definition with %s", other.at)
	case port.HostPort == 0 || other.HostPort == 0:
		w.warn(port.at, "overlapping port definition with %s", other.at)
	case port.HostPort == other.HostPort && (port.HostIP == "") != (other.HostIP == ""):
		w.warn(port.at, "dangerously ambiguous port definition with %s", other.at)
	}
}
