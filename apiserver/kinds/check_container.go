package kinds

import (
	"strconv"

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
		o, here := &s.Containers[i], at.Index(i)
		c.container(here, o, s, volumes)
		c.uniqueName(here, o.Name, &names)
		c.running(here, o, s)
		c.restarts(here, o.RestartPolicy, o.RestartPolicyRules, false)
	}
	c.hostPorts(at, s.Containers)
	if len(s.InitContainers) > 0 {
		at = p.Child("initContainers")
		for i := range s.InitContainers {
			o, here := &s.InitContainers[i], at.Index(i)
			c.container(here, o, s, volumes)
			if o.Name != "" || len(s.Containers) > 0 {
				c.uniqueName(here, o.Name, &names)
			}
			c.initOnly(here, o, s)
			// They run one by one, so that each has the host's ports to itself.
			c.hostPorts(at, s.InitContainers[i:i+1])
		}
	}
	if len(s.EphemeralContainers) > 0 {
		c.ephemeral(p.Child("ephemeralContainers"), s, volumes, &names)
	}
}

func (c *checker) uniqueName(p *path, name string, names *nameSet) {
	if !names.add(name) {
		c.add(field.Duplicate(p.Child("name"), name))
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

// container checks what holds for containers of all sorts.
func (c *checker) container(p *path, o *corev1.Container, s *corev1.PodSpec, volumes map[string]*corev1.Volume) {
	c.dnsLabel(p, "name", o.Name)
	if o.Image == "" {
		c.required(p.Child("image"), "")
	}
	oneOf(c, p, "imagePullPolicy", o.ImagePullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
	oneOf(c, p, "terminationMessagePolicy", o.TerminationMessagePolicy, corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)
	c.containerPorts(p, o.Ports)
	c.env(p, o)
	c.mounts(p, o, volumes)
	c.resources(p, &o.Resources, s.ResourceClaims, containerResource)
	c.resizePolicy(p.Child("resizePolicy"), o.ResizePolicy, s.RestartPolicy)
	c.containerSecurity(p, o.SecurityContext, deref(s.HostUsers, true))
}

// running checks probes and hooks of containers that run along with the pod.
func (c *checker) running(p *path, o *corev1.Container, s *corev1.PodSpec) {
	c.lifecycle(p, o.Lifecycle, s)
	c.probes(p, o, s.TerminationGracePeriodSeconds)
}

// initOnly checks what holds for init containers: those that end have no
// probes or hooks, those that run along (sidecars) do.
func (c *checker) initOnly(p *path, o *corev1.Container, s *corev1.PodSpec) {
	c.restarts(p, o.RestartPolicy, o.RestartPolicyRules, true)
	if sidecar(o) {
		c.running(p, o, s)
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
	for i, r := range o.ResizePolicy {
		if r.RestartPolicy == corev1.RestartContainer {
			c.invalid(p.Child("resizePolicy").Index(i).Child("restartPolicy"), r.RestartPolicy,
				"must not be set to 'RestartContainer' for non-sidecar initContainers")
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
		const why = "cannot be set for an Ephemeral Container"
		for _, f := range [...]struct {
			name string
			set  bool
		}{
			{"ports", len(o.Ports) > 0}, {"livenessProbe", o.LivenessProbe != nil}, {"readinessProbe", o.ReadinessProbe != nil},
			{"startupProbe", o.StartupProbe != nil}, {"lifecycle", o.Lifecycle != nil}, {"resizePolicy", len(o.ResizePolicy) > 0},
			{"resources", len(o.Resources.Limits)+len(o.Resources.Requests)+len(o.Resources.Claims) > 0},
			{"restartPolicy", o.RestartPolicy != nil}, {"restartPolicyRules", len(o.RestartPolicyRules) > 0},
		} {
			if f.set {
				c.forbidden(at.Child(f.name), why)
			}
		}
		for j, m := range o.VolumeMounts {
			if m.SubPath != "" {
				c.forbidden(at.Child("volumeMounts").Index(j).Child("subPath"), why)
			}
			if m.SubPathExpr != "" {
				c.forbidden(at.Child("volumeMounts").Index(j).Child("subPathExpr"), why)
			}
		}
		c.container(at, &o, s, volumes)
		c.uniqueName(at, o.Name, names)
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

func (c *checker) containerPorts(p *path, ports []corev1.ContainerPort) {
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
		}
		protocol(c, at, port.Protocol)
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

func (c *checker) containerSecurity(p *path, s *corev1.SecurityContext, hostUsers bool) {
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
	if hostUsers && deref(s.ProcMount, "") == corev1.UnmaskedProcMount {
		c.invalid(p.Child("procMount"), s.ProcMount, "`hostUsers` must be false to use `Unmasked`")
	}
	c.seccomp(p, s.SeccompProfile)
	c.appArmor(p, s.AppArmorProfile)
}
