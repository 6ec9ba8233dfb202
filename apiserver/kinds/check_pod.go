package kinds

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// sysctlName is a kernel parameter's name, with dots or slashes between its parts.
var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

const maxSysctl = 253

var restartPolicies = []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}

func checkPod(o, old *corev1.Pod) fieldErrors {
	c := &checker{isPod: true}
	spec := field.NewPath("spec")
	c.podSpec(spec, &o.Spec)
	c.onlyPod(spec, &o.Spec)
	switch {
	case old != nil:
		c.podUpdate(spec, &o.Spec, &old.Spec)
	default:
		if len(o.Spec.EphemeralContainers) > 0 {
			c.forbidden(spec.Child("ephemeralContainers"), "cannot be set on create")
		}
		if len(o.Spec.SchedulingGates) > 0 && o.Spec.NodeName != "" {
			c.forbidden(spec.Child("nodeName"), "cannot be set until all schedulingGates have been cleared")
		}
	}
	return c.errs
}

// onlyPod checks what templates, for the sake of old ones, are let pass.
func (c *checker) onlyPod(p *path, s *corev1.PodSpec) {
	if s.ServiceAccountName == "" {
		for i := range s.Volumes {
			for j := range projections(&s.Volumes[i]) {
				if s.Volumes[i].Projected.Sources[j].ServiceAccountToken != nil {
					c.forbidden(p.Child("volumes").Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"),
						"must not be specified when serviceAccountName is not set")
				}
			}
		}
	}
	if g := s.TerminationGracePeriodSeconds; g != nil {
		c.nonNegative(p, "terminationGracePeriodSeconds", *g)
	}
	for name, containers := range map[string][]corev1.Container{"containers": s.Containers, "initContainers": s.InitContainers} {
		for i := range containers {
			c.trimmedImage(p.Child(name).Index(i), containers[i].Image)
		}
	}
	for i := range s.EphemeralContainers {
		c.trimmedImage(p.Child("ephemeralContainers").Index(i), s.EphemeralContainers[i].Image)
	}
}

func projections(v *corev1.Volume) []corev1.VolumeProjection {
	if v.Projected == nil {
		return nil
	}
	return v.Projected.Sources
}

func (c *checker) trimmedImage(p *path, image string) {
	if strings.TrimSpace(image) != image {
		c.invalid(p.Child("image"), image, "must not have leading or trailing whitespace")
	}
}

// template checks the pod template of a workload; workloads that keep their
// pods running take restartPolicy Always alone.
func (c *checker) template(p *path, t *corev1.PodTemplateSpec, policies ...corev1.RestartPolicy) {
	// Without metadata, as these errors always have been.
	c.labels(p.Child("labels"), t.Labels)
	c.annotations(p.Child("annotations"), t.Annotations)
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
	c.podClaims(p.Child("resourceClaims"), s.ResourceClaims)
	c.containers(p, s, volumes)
	c.fileVariables(p, s, volumes)
	oneOf(c, p, "restartPolicy", s.RestartPolicy, restartPolicies...)
	oneOf(c, p, "dnsPolicy", s.DNSPolicy, dnsPolicies...)
	c.dnsConfig(p, s)
	if s.TerminationGracePeriodSeconds == nil {
		c.required(p.Child("terminationGracePeriodSeconds"), "")
	}
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		c.invalid(p.Child("activeDeadlineSeconds"), *d, validation.InclusiveRangeError(1, math.MaxInt32))
	}
	for _, n := range [...]struct{ name, value string }{
		{"serviceAccountName", s.ServiceAccountName}, {"nodeName", s.NodeName}, {"priorityClassName", s.PriorityClassName},
	} {
		if n.value != "" {
			c.dnsSubdomain(p, n.name, n.value)
		}
	}
	if s.RuntimeClassName != nil && !plainLabel(*s.RuntimeClassName) {
		c.messages(p, "runtimeClassName", *s.RuntimeClassName, validation.IsDNS1123Subdomain(*s.RuntimeClassName))
	}
	c.hostName(p, s)
	c.labels(p.Child("nodeSelector"), s.NodeSelector)
	c.hostNamespaces(p, s)
	c.podSecurity(p.Child("securityContext"), s)
	c.os(p, s)
	c.hostAliases(p, s.HostAliases)
	c.scheduling(p, s)
	if s.PreemptionPolicy != nil {
		oneOf(c, p, "preemptionPolicy", *s.PreemptionPolicy, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	for i := range s.ReadinessGates {
		c.messages(p.Child("readinessGates").Index(i), "conditionType", s.ReadinessGates[i].ConditionType,
			validation.IsQualifiedName(string(s.ReadinessGates[i].ConditionType)))
	}
	if len(s.Overhead) > 0 {
		c.requirements(p.Child("overhead"), &corev1.ResourceRequirements{Limits: s.Overhead}, nil, containerResource)
	}
	c.podResources(p, s)
}

var dnsPolicies = []corev1.DNSPolicy{corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone}

// hostName checks the names that a pod's processes see.
func (c *checker) hostName(p *path, s *corev1.PodSpec) {
	if s.Hostname != "" {
		c.dnsLabel(p, "hostname", s.Hostname)
	}
	if s.Subdomain != "" {
		c.dnsLabel(p, "subdomain", s.Subdomain)
	}
	if s.HostnameOverride == nil {
		return
	}
	at := p.Child("hostnameOverride")
	if deref(s.SetHostnameAsFQDN, false) {
		c.forbidden(at, "may not be specified when setHostnameAsFQDN is true")
	}
	if s.HostNetwork {
		c.forbidden(at, "may not be specified when hostNetwork is true")
	}
	if len(*s.HostnameOverride) > 64 {
		c.add(field.TooLong(at, "", 64))
	}
	c.messages(p, "hostnameOverride", *s.HostnameOverride, validation.IsDNS1123Subdomain(*s.HostnameOverride))
}

// maxSearchList bounds the search list of a resolver, spaces included.
const maxSearchList = 2048

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
		return
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
	if len(strings.Join(d.Searches, " ")) > maxSearchList {
		c.invalid(p.Child("searches"), d.Searches, "must not have more than 2048 characters (including spaces) in the search list")
	}
	for i, search := range d.Searches {
		if search == "." {
			continue
		}
		search = strings.TrimSuffix(search, ".")
		for _, m := range validation.IsDNS1123SubdomainWithUnderscore(search) {
			c.invalid(p.Child("searches").Index(i), search, m)
		}
	}
	for i := range d.Options {
		if d.Options[i].Name == "" {
			c.required(p.Child("options").Index(i), "must not be empty")
		}
	}
}

func (c *checker) hostAliases(p *path, aliases []corev1.HostAlias) {
	for i := range aliases {
		at := p.Child("hostAliases").Index(i)
		c.ip(at.Child("ip"), aliases[i].IP)
		for j, name := range aliases[i].Hostnames {
			for _, m := range validation.IsDNS1123Subdomain(name) {
				c.invalid(at.Child("hostnames").Index(j), name, m)
			}
		}
	}
}

// checkPodStatus is for writes through the status subresource.
func checkPodStatus(o, old *corev1.Pod) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("status"), &o.Status
	if n := s.NominatedNodeName; n != "" && n != old.Status.NominatedNodeName {
		if !plainLabel(n) {
			c.messages(p, "nominatedNodeName", n, validation.IsDNS1123Subdomain(n))
		}
		if old.Spec.NodeName != "" {
			c.forbidden(p.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node")
		}
	}
	if s.ObservedGeneration < 0 {
		c.invalid(p.Child("observedGeneration"), s.ObservedGeneration, "must be a non-negative integer")
	}
	same(c, p, "qosClass", s.QOSClass, old.Status.QOSClass)
	c.podAddresses(p, s)
	c.claimStatuses(p, s, &o.Spec)
	c.containerStatuses(p, s, &o.Spec)
	for i := range s.Conditions {
		at := p.Child("conditions").Index(i)
		if g := s.Conditions[i].ObservedGeneration; g < 0 {
			c.invalid(at.Child("observedGeneration"), g, "must be a non-negative integer")
		}
		t := string(s.Conditions[i].Type)
		if known(t) {
			continue
		}
		for _, m := range validation.IsQualifiedName(t) {
			c.invalid(at.Child("Type"), t, m)
		}
	}
	return c.errs
}

// podAddresses checks the addresses of a pod and of its node: one of a family,
// and the first one by its old name too.
func (c *checker) podAddresses(p *path, s *corev1.PodStatus) {
	pods := make([]string, len(s.PodIPs))
	for i := range s.PodIPs {
		pods[i] = s.PodIPs[i].IP
	}
	c.addressPair(p.Child("podIPs"), pods, s.PodIPs)
	switch {
	case (s.PodIP == "") != (len(pods) == 0):
		c.invalid(p.Child("podIPs"), s.PodIPs, "podIP and podIPs must either both be set or both be unset")
	case len(pods) > 0 && pods[0] != s.PodIP:
		c.invalid(p.Child("podIPs").Index(0).Child("ip"), pods[0], "must be equal to `podIP`")
	}
	hosts := make([]string, len(s.HostIPs))
	for i := range s.HostIPs {
		hosts[i] = s.HostIPs[i].IP
	}
	c.addressPair(p.Child("hostIPs"), hosts, s.HostIPs)
	if len(hosts) > 0 && hosts[0] != s.HostIP {
		c.invalid(p.Child("hostIPs").Index(0).Child("ip"), hosts[0], "must be equal to `hostIP`")
	}
}

// addressPair checks at most two addresses, one of each family.
func (c *checker) addressPair(p *path, all []string, value any) {
	families := map[bool]bool{}
	for i, a := range all {
		c.ip(p.Index(i), a)
		ip, err := netip.ParseAddr(a)
		if err != nil && len(all) > 1 {
			c.add(field.InternalError(p, fmt.Errorf("failed to check for dual stack with error:invalid IP[%d]: %s", i, a)))
		}
		families[ip.Is6()] = true
	}
	if len(all) > 2 || len(all) == 2 && len(families) < 2 {
		c.invalid(p, value, "may specify no more than one IP for each IP family")
	}
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
