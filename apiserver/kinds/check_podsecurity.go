package kinds

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (c *checker) podSecurity(p *path, s *corev1.PodSpec) {
	sc := s.SecurityContext
	if sc == nil {
		return
	}
	c.userAndGroup(p, sc.RunAsUser, sc.RunAsGroup)
	if sc.FSGroup != nil {
		c.messages(p, "fsGroup", *sc.FSGroup, validation.IsValidGroupID(*sc.FSGroup))
	}
	for i, g := range sc.SupplementalGroups {
		for _, m := range validation.IsValidGroupID(g) {
			c.invalid(p.Child("supplementalGroups").Index(i), g, m)
		}
	}
	oneOfPtr(c, p, "fsGroupChangePolicy", sc.FSGroupChangePolicy, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)
	oneOfPtr(c, p, "supplementalGroupsPolicy", sc.SupplementalGroupsPolicy, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)
	oneOfPtr(c, p, "seLinuxChangePolicy", sc.SELinuxChangePolicy, corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)
	c.sysctls(p.Child("sysctls"), sc.Sysctls)
	c.seccomp(p, sc.SeccompProfile)
	c.appArmor(p, sc.AppArmorProfile)
}

func (c *checker) sysctls(p *path, all []corev1.Sysctl) {
	var seen nameSet
	for i, s := range all {
		at := p.Index(i).Child("name")
		isNew := seen.add(s.Name)
		switch {
		case s.Name == "":
			c.required(at, "")
		case len(s.Name) > maxSysctl || !sysctlName.MatchString(s.Name):
			c.invalid(at, s.Name, "must have at most 253 characters and match regex "+sysctlName.String())
		case !isNew:
			c.add(field.Duplicate(at, s.Name))
		}
	}
}

func (c *checker) seccomp(p *path, s *corev1.SeccompProfile) {
	if s == nil {
		return
	}
	p = p.Child("seccompProfile")
	switch s.Type {
	case corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined:
	case "":
		c.required(p.Child("type"), "type is required when seccompProfile is set")
	default:
		c.add(field.NotSupported(p.Child("type"), s.Type, []corev1.SeccompProfileType{
			corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined,
		}))
	}
	at := p.Child("localhostProfile")
	switch {
	case s.Type != corev1.SeccompProfileTypeLocalhost && s.LocalhostProfile != nil:
		c.invalid(at, s, "can only be set when seccomp type is Localhost")
	case s.Type == corev1.SeccompProfileTypeLocalhost && s.LocalhostProfile == nil:
		c.required(at, "must be set when seccomp type is Localhost")
	case s.Type == corev1.SeccompProfileTypeLocalhost:
		c.relative(at, *s.LocalhostProfile)
	}
}

// maxProfilePath is the longest path that a kernel takes.
const maxProfilePath = 4095

func (c *checker) appArmor(p *path, a *corev1.AppArmorProfile) {
	if a == nil {
		return
	}
	p = p.Child("appArmorProfile")
	at := p.Child("localhostProfile")
	switch a.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		name := deref(a.LocalhostProfile, "")
		switch {
		case strings.TrimSpace(name) != name:
			c.invalid(at, name, "must not be padded with whitespace")
		case name == "":
			c.required(at, "must be set when AppArmor type is Localhost")
		case len(name) > maxProfilePath:
			c.add(field.TooLong(at, "", maxProfilePath))
		}
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if a.LocalhostProfile != nil {
			c.invalid(at, a.LocalhostProfile, "can only be set when AppArmor type is Localhost")
		}
	case "":
		c.required(p.Child("type"), "type is required when appArmorProfile is set")
	default:
		c.add(field.NotSupported(p.Child("type"), a.Type, []corev1.AppArmorProfileType{
			corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined,
		}))
	}
}

func (c *checker) userAndGroup(p *path, user, group *int64) {
	if user != nil {
		c.messages(p, "runAsUser", *user, validation.IsValidUserID(*user))
	}
	if group != nil {
		c.messages(p, "runAsGroup", *group, validation.IsValidGroupID(*group))
	}
}

// hostNamespaces checks which of the host's namespaces go together.
func (c *checker) hostNamespaces(p *path, s *corev1.PodSpec) {
	if s.HostPID && deref(s.ShareProcessNamespace, false) {
		c.invalid(p.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
	if s.HostNetwork {
		c.hostNetworkPorts(p.Child("containers"), s.Containers)
	}
	if deref(s.HostUsers, true) {
		return
	}
	const why = "when `hostUsers` is false"
	if s.HostNetwork {
		c.forbidden(p.Child("hostNetwork"), why)
	}
	if s.HostPID {
		c.forbidden(p.Child("HostPID"), why)
	}
	if s.HostIPC {
		c.forbidden(p.Child("HostIPC"), why)
	}
	eachContainer(p, s, func(at *path, o *corev1.Container) {
		if len(o.VolumeDevices) > 0 {
			c.forbidden(at.Child("volumeDevices"), why)
		}
	})
}

// hostNetworkPorts takes the ports of a pod in the host's network for the
// host's; a template may leave them for its pods' defaults.
func (c *checker) hostNetworkPorts(p *path, containers []corev1.Container) {
	for i := range containers {
		for j, port := range containers[i].Ports {
			if port.HostPort != port.ContainerPort && (c.isPod || port.HostPort != 0) {
				c.invalid(p.Index(i).Child("ports").Index(j).Child("hostPort"), port.HostPort, "must match `containerPort` when `hostNetwork` is true")
			}
		}
	}
}

// eachContainer visits containers of all sorts.
func eachContainer(p *path, s *corev1.PodSpec, visit func(at *path, o *corev1.Container)) {
	for i := range s.InitContainers {
		visit(p.Child("initContainers").Index(i), &s.InitContainers[i])
	}
	for i := range s.Containers {
		visit(p.Child("containers").Index(i), &s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		o := corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
		visit(p.Child("ephemeralContainers").Index(i), &o)
	}
}

var restartActions = []corev1.ContainerRestartRuleAction{corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers}

// restarts checks a container's own rules about when it starts again.
func (c *checker) restarts(p *path, policy *corev1.ContainerRestartPolicy, rules []corev1.ContainerRestartRule, init bool) {
	if policy == nil && len(rules) > 0 {
		c.required(p.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
		if init {
			return
		}
	}
	oneOfPtr(c, p, "restartPolicy", policy, corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)
	if len(rules) > 20 {
		c.add(field.TooMany(p.Child("restartPolicyRules"), len(rules), 20))
	}
	for i, r := range rules {
		at := p.Child("restartPolicyRules").Index(i)
		if !slices.Contains(restartActions, r.Action) {
			c.add(field.NotSupported(at.Child("action"), r.Action, restartActions))
		}
		if r.ExitCodes == nil {
			c.required(at.Child("exitCodes"), "must be specified")
			continue
		}
		in := []corev1.ContainerRestartRuleOnExitCodesOperator{corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn}
		if !slices.Contains(in, r.ExitCodes.Operator) {
			c.add(field.NotSupported(at.Child("exitCodes", "operator"), r.ExitCodes.Operator, in))
		}
		if n := len(r.ExitCodes.Values); n > 255 {
			c.add(field.TooMany(at.Child("exitCodes", "values"), n, 255))
		}
	}
}

func (c *checker) resizePolicy(p *path, all []corev1.ContainerResizePolicy, restart corev1.RestartPolicy) {
	var names nameSet
	for i, r := range all {
		if !names.add(string(r.ResourceName)) {
			c.add(field.Duplicate(p.Index(i), r.ResourceName))
		}
		switch r.ResourceName {
		case corev1.ResourceCPU, corev1.ResourceMemory:
		case "":
			c.required(p, "")
		default:
			c.add(field.NotSupported(p, r.ResourceName, []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}))
		}
		switch r.RestartPolicy {
		case corev1.NotRequired, corev1.RestartContainer:
		case "":
			c.required(p, "")
		default:
			c.add(field.NotSupported(p, r.RestartPolicy, []corev1.ResourceResizeRestartPolicy{corev1.NotRequired, corev1.RestartContainer}))
		}
		if restart == corev1.RestartPolicyNever && r.RestartPolicy != corev1.NotRequired {
			c.invalid(p, r.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")
		}
	}
}
