package kinds

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// containers checks the containers of a pod and what they may have only once
// among them.
func (c *checker) containers(p *path, s *corev1.PodSpec, volumes map[string]*corev1.Volume) {
	if len(s.Containers) == 0 {
		c.required(p.Child("containers"), "")
	}
	var names nameSet
	at := p.Child("containers")
	for i := range s.Containers {
		c.container(at.Index(i), &s.Containers[i], s, volumes, &names)
		c.lifecycle(at.Index(i), s.Containers[i].Lifecycle)
	}
	c.hostPorts(at, s.Containers)
	if len(s.InitContainers) > 0 {
		at = p.Child("initContainers")
		for i := range s.InitContainers {
			c.container(at.Index(i), &s.InitContainers[i], s, volumes, &names)
			c.initOnly(at.Index(i), &s.InitContainers[i])
		}
	}
	if len(s.EphemeralContainers) > 0 {
		c.ephemeral(p.Child("ephemeralContainers"), s, volumes, &names)
	}
}

// nameSet remembers a handful of names without a map.
type nameSet struct{ names []string }

// add tells whether the name is new.
func (s *nameSet) add(name string) bool {
	for _, n := range s.names {
		if n == name {
			return false
		}
	}
	s.names = append(s.names, name)
	return true
}

func (c *checker) container(p *path, o *corev1.Container, s *corev1.PodSpec, volumes map[string]*corev1.Volume, names *nameSet) {
	c.dnsLabel(p, "name", o.Name)
	if o.Name != "" && !names.add(o.Name) {
		c.add(field.Duplicate(p.Child("name"), o.Name))
	}
	if o.Image == "" {
		c.required(p.Child("image"), "")
	} else if strings.TrimSpace(o.Image) != o.Image {
		c.invalid(p.Child("image"), o.Image, "must not have leading or trailing whitespace")
	}
	oneOf(c, p, "imagePullPolicy", o.ImagePullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
	oneOf(c, p, "terminationMessagePolicy", o.TerminationMessagePolicy, corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)
	c.containerPorts(p, o.Ports, s.HostNetwork)
	c.env(p, o)
	c.mounts(p, o, volumes)
	c.probes(p, o)
	c.resources(p, &o.Resources)
	c.containerSecurity(p, o.SecurityContext)
}

// initOnly checks what holds for init containers: those that end have no
// probes or hooks, those that run along (sidecars) do.
func (c *checker) initOnly(p *path, o *corev1.Container) {
	if o.RestartPolicy != nil && *o.RestartPolicy != corev1.ContainerRestartPolicyAlways &&
		*o.RestartPolicy != corev1.ContainerRestartPolicyNever && *o.RestartPolicy != corev1.ContainerRestartPolicyOnFailure {
		c.add(field.NotSupported(p.Child("restartPolicy"), *o.RestartPolicy, []corev1.ContainerRestartPolicy{corev1.ContainerRestartPolicyAlways}))
	}
	if sidecar(o) {
		c.lifecycle(p, o.Lifecycle)
		return
	}
	const why = "may not be set for init containers without restartPolicy=Always"
	for _, f := range [...]struct {
		name string
		set  bool
	}{
		{"lifecycle", o.Lifecycle != nil}, {"livenessProbe", o.LivenessProbe != nil},
		{"readinessProbe", o.ReadinessProbe != nil}, {"startupProbe", o.StartupProbe != nil},
	} {
		if f.set {
			c.forbidden(p.Child(f.name), why)
		}
	}
}

func (c *checker) ephemeral(p *path, s *corev1.PodSpec, volumes map[string]*corev1.Volume, names *nameSet) {
	for i := range s.EphemeralContainers {
		at := p.Index(i)
		o := corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
		target := s.EphemeralContainers[i].TargetContainerName
		if target != "" && !hasContainer(s, target) {
			c.add(field.NotFound(at.Child("targetContainerName"), target))
		}
		for _, f := range [...]struct {
			name string
			set  bool
		}{
			{"ports", len(o.Ports) > 0}, {"livenessProbe", o.LivenessProbe != nil}, {"readinessProbe", o.ReadinessProbe != nil},
			{"startupProbe", o.StartupProbe != nil}, {"lifecycle", o.Lifecycle != nil},
			{"resources", len(o.Resources.Limits)+len(o.Resources.Requests) > 0},
		} {
			if f.set {
				c.forbidden(at.Child(f.name), "cannot be set for an Ephemeral Container")
			}
		}
		o.Ports, o.LivenessProbe, o.ReadinessProbe, o.StartupProbe = nil, nil, nil, nil
		c.container(at, &o, s, volumes, names)
	}
}

func hasContainer(s *corev1.PodSpec, name string) bool {
	for _, all := range [][]corev1.Container{s.Containers, s.InitContainers} {
		for i := range all {
			if all[i].Name == name {
				return true
			}
		}
	}
	return false
}

func (c *checker) containerPorts(p *path, ports []corev1.ContainerPort, hostNetwork bool) {
	var names nameSet
	for i := range ports {
		port := &ports[i]
		at := p.Child("ports").Index(i)
		if port.Name != "" {
			if messages := portName(port.Name); len(messages) > 0 {
				c.messages(at, "name", port.Name, messages)
			} else if !names.add(port.Name) {
				c.add(field.Duplicate(at.Child("name"), port.Name))
			}
		}
		if port.ContainerPort == 0 {
			c.required(at.Child("containerPort"), "")
		} else {
			c.port(at, "containerPort", port.ContainerPort)
		}
		if port.HostPort != 0 {
			c.port(at, "hostPort", port.HostPort)
			if hostNetwork && port.HostPort != port.ContainerPort {
				c.invalid(at.Child("containerPort"), port.ContainerPort, "must match `hostPort` when `hostNetwork` is true")
			}
		}
		protocol(c, at, port.Protocol)
		if port.HostIP != "" {
			c.ip(at.Child("hostIP"), port.HostIP)
		}
	}
}

func protocol(c *checker, p *path, value corev1.Protocol) {
	if value != corev1.ProtocolTCP {
		oneOf(c, p, "protocol", value, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
	}
}

// hostPorts finds two containers that want one port of the host.
func (c *checker) hostPorts(p *path, containers []corev1.Container) {
	var taken nameSet
	for i := range containers {
		for j, port := range containers[i].Ports {
			if port.HostPort == 0 {
				continue
			}
			key := string(port.Protocol) + "/" + port.HostIP + "/" + strconv.Itoa(int(port.HostPort))
			if !taken.add(key) {
				c.add(field.Duplicate(p.Index(i).Child("ports").Index(j).Child("hostPort"), key))
			}
		}
	}
}

func (c *checker) containerSecurity(p *path, s *corev1.SecurityContext) {
	if s == nil {
		return
	}
	p = p.Child("securityContext")
	c.userAndGroup(p, s.RunAsUser, s.RunAsGroup)
	if deref(s.Privileged, false) && !deref(s.AllowPrivilegeEscalation, true) {
		c.invalid(p, s, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
	}
	if s.Capabilities != nil && !deref(s.AllowPrivilegeEscalation, true) {
		for _, capability := range s.Capabilities.Add {
			if capability == "CAP_SYS_ADMIN" {
				c.invalid(p, s, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
			}
		}
	}
	oneOfPtr(c, p, "procMount", s.ProcMount, corev1.DefaultProcMount, corev1.UnmaskedProcMount)
	c.seccomp(p, s.SeccompProfile)
}

// containerWarnings tells of environment variables and ports given twice and
// of fractions of bytes.
func containerWarnings(at string, s *corev1.PodSpec) []string {
	var all []string
	for i := range s.Containers {
		o := &s.Containers[i]
		here := at + ".containers[" + strconv.Itoa(i) + "]"
		var names nameSet
		for j := range o.Env {
			if !names.add(o.Env[j].Name) {
				all = append(all, here+".env["+strconv.Itoa(j)+"]: hides previous definition of \""+o.Env[j].Name+"\", which may be dropped when using apply")
			}
		}
		var ports nameSet
		for j, port := range o.Ports {
			key := strconv.Itoa(int(port.ContainerPort)) + "/" + string(port.Protocol)
			if !ports.add(key) {
				all = append(all, here+".ports["+strconv.Itoa(j)+"]: duplicate port definition with "+here+".ports")
			}
		}
	}
	return all
}
