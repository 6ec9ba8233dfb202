package kinds

import (
	"math"
	"net/netip"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// sysctlName is a kernel parameter's name, with dots or slashes between its parts.
var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

const maxSysctl = 253

var restartPolicies = []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}

func checkPod(o, old *corev1.Pod) fieldErrors {
	c := &checker{}
	spec := field.NewPath("spec")
	if old != nil {
		c.podUpdate(spec, &o.Spec, &old.Spec)
		return c.errs
	}
	c.podSpec(spec, &o.Spec)
	if len(o.Spec.EphemeralContainers) > 0 {
		c.forbidden(spec.Child("ephemeralContainers"), "cannot be set on create")
	}
	return c.errs
}

// template checks the pod template of a workload; workloads that keep their
// pods running take restartPolicy Always alone.
func (c *checker) template(p *path, t *corev1.PodTemplateSpec, policies ...corev1.RestartPolicy) {
	meta := p.Child("metadata")
	c.labels(meta.Child("labels"), t.Labels)
	c.annotations(meta.Child("annotations"), t.Annotations)
	spec := p.Child("spec")
	c.podSpec(spec, &t.Spec)
	if len(policies) > 0 && t.Spec.RestartPolicy != "" {
		oneOf(c, spec, "restartPolicy", t.Spec.RestartPolicy, policies...)
	}
	if len(t.Spec.EphemeralContainers) > 0 {
		c.forbidden(spec.Child("ephemeralContainers"), "ephemeral containers not allowed in pod template")
	}
}

func (c *checker) podSpec(p *path, s *corev1.PodSpec) {
	volumes := c.volumes(p.Child("volumes"), s.Volumes)
	c.containers(p, s, volumes)
	oneOf(c, p, "restartPolicy", s.RestartPolicy, restartPolicies...)
	oneOf(c, p, "dnsPolicy", s.DNSPolicy, corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)
	c.dnsConfig(p, s)
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		c.messages(p, "activeDeadlineSeconds", *d, validation.IsInRange(int(*d), 1, math.MaxInt32))
	}
	if s.SchedulerName == "" {
		c.required(p.Child("schedulerName"), "")
	}
	for _, n := range [...]struct{ name, value string }{
		{"serviceAccountName", s.ServiceAccountName}, {"nodeName", s.NodeName}, {"priorityClassName", s.PriorityClassName},
		{"runtimeClassName", deref(s.RuntimeClassName, "")},
	} {
		if n.value != "" {
			c.dnsSubdomain(p, n.name, n.value)
		}
	}
	if s.Hostname != "" {
		c.dnsLabel(p, "hostname", s.Hostname)
	}
	if s.Subdomain != "" {
		c.dnsLabel(p, "subdomain", s.Subdomain)
	}
	c.labels(p.Child("nodeSelector"), s.NodeSelector)
	c.podSecurity(p.Child("securityContext"), s)
	c.os(p, s)
	c.hostAliases(p, s.HostAliases)
	c.scheduling(p, s)
	oneOfPtr(c, p, "preemptionPolicy", s.PreemptionPolicy, corev1.PreemptLowerPriority, corev1.PreemptNever)
	for i := range s.ReadinessGates {
		c.messages(p.Child("readinessGates").Index(i), "conditionType", s.ReadinessGates[i].ConditionType,
			validation.IsQualifiedName(string(s.ReadinessGates[i].ConditionType)))
	}
	if len(s.Overhead) > 0 {
		c.resourceList(p.Child("overhead"), s.Overhead)
	}
}

func (c *checker) dnsConfig(p *path, s *corev1.PodSpec) {
	d := s.DNSConfig
	if s.DNSPolicy == corev1.DNSNone && d == nil {
		c.required(p.Child("dnsConfig"), "must provide `dnsConfig` when `dnsPolicy` is None")
		return
	}
	if d == nil {
		return
	}
	p = p.Child("dnsConfig")
	if s.DNSPolicy == corev1.DNSNone && len(d.Nameservers) == 0 {
		c.required(p.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")
	}
	if len(d.Nameservers) > 3 {
		c.invalid(p.Child("nameservers"), d.Nameservers, "must not have more than 3 nameservers")
	}
	for i, n := range d.Nameservers {
		c.ip(p.Child("nameservers").Index(i), n)
	}
	if len(d.Searches) > 32 {
		c.invalid(p.Child("searches"), d.Searches, "must not have more than 32 search paths")
	}
	for i := range d.Options {
		if d.Options[i].Name == "" {
			c.required(p.Child("options").Index(i), "must not be empty")
		}
	}
}

func (c *checker) podSecurity(p *path, s *corev1.PodSpec) {
	sc := s.SecurityContext
	if sc == nil {
		return
	}
	if s.HostPID && deref(s.ShareProcessNamespace, false) {
		c.invalid(p.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled")
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
	seen := map[string]bool{}
	for i, s := range sc.Sysctls {
		switch {
		case s.Name == "":
			c.required(p.Child("sysctls").Index(i).Child("name"), "")
		case seen[s.Name]:
			c.add(field.Duplicate(p.Child("sysctls").Index(i).Child("name"), s.Name))
		case len(s.Name) > maxSysctl || !sysctlName.MatchString(s.Name):
			c.invalid(p.Child("sysctls").Index(i).Child("name"), s.Name, "must have at most 253 characters and match regex "+sysctlName.String())
		}
		seen[s.Name] = true
	}
	c.seccomp(p, sc.SeccompProfile)
}

func (c *checker) seccomp(p *path, s *corev1.SeccompProfile) {
	if s == nil {
		return
	}
	p = p.Child("seccompProfile")
	oneOf(c, p, "type", s.Type, corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
	if s.Type == corev1.SeccompProfileTypeLocalhost && deref(s.LocalhostProfile, "") == "" {
		c.required(p.Child("localhostProfile"), "must be set when seccomp type is Localhost")
	} else if s.Type != corev1.SeccompProfileTypeLocalhost && s.LocalhostProfile != nil {
		c.invalid(p.Child("localhostProfile"), *s.LocalhostProfile, "can only be set when seccomp type is Localhost")
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

func (c *checker) hostAliases(p *path, aliases []corev1.HostAlias) {
	for i := range aliases {
		at := p.Child("hostAliases").Index(i)
		if _, err := netip.ParseAddr(aliases[i].IP); err != nil {
			c.invalid(at.Child("ip"), aliases[i].IP, notIP)
		}
		for j, name := range aliases[i].Hostnames {
			for _, m := range validation.IsDNS1123Subdomain(name) {
				c.invalid(at.Child("hostnames").Index(j), name, m)
			}
		}
	}
}

// checkPodStatus is for writes through the status subresource.
func checkPodStatus(o, _ *corev1.Pod) fieldErrors {
	c := &checker{}
	p := field.NewPath("status")
	if o.Status.Phase != "" {
		oneOf(c, p, "phase", o.Status.Phase, corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown)
	}
	if n := o.Status.NominatedNodeName; n != "" {
		c.dnsSubdomain(p, "nominatedNodeName", n)
	}
	for i := range o.Status.PodIPs {
		c.ip(p.Child("podIPs").Index(i), o.Status.PodIPs[i].IP)
	}
	for i := range o.Status.Conditions {
		t := string(o.Status.Conditions[i].Type)
		if known(t) {
			continue
		}
		for _, m := range validation.IsQualifiedName(t) {
			c.invalid(p.Child("conditions").Index(i).Child("type"), t, m)
		}
	}
	return c.errs
}

// known tells the conditions of every pod apart without parsing names.
func known(t string) bool {
	switch corev1.PodConditionType(t) {
	case corev1.PodReady, corev1.ContainersReady, corev1.PodInitialized, corev1.PodScheduled:
		return true
	}
	return false
}

func checkBinding(b *corev1.Binding) fieldErrors {
	c := &checker{}
	p := field.NewPath("target")
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		c.add(field.NotSupported(p.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		c.required(p.Child("name"), "")
	}
	return c.errs
}

func podWarnings(o, _ *corev1.Pod) []string {
	return templateWarnings("spec", &o.Spec, &o.ObjectMeta)
}

// templateWarnings tells what a pod spec has that does not do what it seems to.
func templateWarnings(at string, s *corev1.PodSpec, meta *metav1.ObjectMeta) []string {
	var all []string
	for k := range s.NodeSelector {
		if k == "beta.kubernetes.io/arch" || k == "beta.kubernetes.io/os" {
			all = append(all, at+".nodeSelector["+k+"]: deprecated since v1.14; use \""+k[len("beta."):]+"\" instead")
		}
	}
	for _, a := range []string{"scheduler.alpha.kubernetes.io/critical-pod", "seccomp.security.alpha.kubernetes.io/pod"} {
		if _, ok := meta.Annotations[a]; ok {
			all = append(all, "metadata.annotations["+a+"]: non-functional in v1.27+")
		}
	}
	return append(all, containerWarnings(at, s)...)
}
