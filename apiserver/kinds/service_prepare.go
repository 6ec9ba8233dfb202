package kinds

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func defaultService(o *corev1.Service) {
	s := &o.Spec
	setDefault(&s.SessionAffinity, corev1.ServiceAffinityNone)
	if s.SessionAffinity == corev1.ServiceAffinityNone {
		s.SessionAffinityConfig = nil
	} else if s.SessionAffinity == corev1.ServiceAffinityClientIP {
		setDefaultPtr(&s.SessionAffinityConfig, corev1.SessionAffinityConfig{})
		setDefaultPtr(&s.SessionAffinityConfig.ClientIP, corev1.ClientIPConfig{})
		setDefaultPtr(&s.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
	}
	setDefault(&s.Type, corev1.ServiceTypeClusterIP)
	for i := range s.Ports {
		p := &s.Ports[i]
		setDefault(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == (intstr.IntOrString{}) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if reachableFromOutside(s) {
		setDefault(&s.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if hasClusterIP(s.Type) {
		setDefaultPtr(&s.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if s.Type == corev1.ServiceTypeLoadBalancer {
		setDefaultPtr(&s.AllocateLoadBalancerNodePorts, true)
	}
}

// hasClusterIP tells the types that get an address of their own.
func hasClusterIP(t corev1.ServiceType) bool {
	return t == corev1.ServiceTypeClusterIP || hasNodePort(t)
}

func hasNodePort(t corev1.ServiceType) bool {
	return t == corev1.ServiceTypeNodePort || t == corev1.ServiceTypeLoadBalancer
}

func reachableFromOutside(s *corev1.ServiceSpec) bool {
	return hasNodePort(s.Type) || (s.Type == corev1.ServiceTypeClusterIP && len(s.ExternalIPs) > 0)
}

// prepareService keeps what was allocated when an update leaves it out, and
// lets go of what a new type has no use for. Allocating is the write path's.
func prepareService(o, old *corev1.Service) {
	if old == nil {
		o.Status = corev1.ServiceStatus{}
		if o.Spec.ClusterIP != "" && len(o.Spec.ClusterIPs) == 0 {
			o.Spec.ClusterIPs = []string{o.Spec.ClusterIP}
		}
		return
	}
	o.Status = old.Status
	s, was := &o.Spec, &old.Spec
	if hasClusterIP(s.Type) && hasClusterIP(was.Type) {
		keepClusterIP(s, was)
		keepNodePorts(s, was)
	} else if hasClusterIP(was.Type) {
		dropClusterIP(s, was)
	}
	if s.ClusterIP != "" && len(s.ClusterIPs) == 0 {
		s.ClusterIPs = []string{s.ClusterIP}
	}
	if !hasNodePort(s.Type) && hasNodePort(was.Type) {
		dropNodePorts(s, was)
	}
	if s.Type != corev1.ServiceTypeLoadBalancer && was.Type == corev1.ServiceTypeLoadBalancer {
		dropLoadBalancer(s, was)
	}
	if !reachableFromOutside(s) && s.ExternalTrafficPolicy == was.ExternalTrafficPolicy {
		s.ExternalTrafficPolicy = ""
	}
}

func keepClusterIP(s, was *corev1.ServiceSpec) {
	if s.ClusterIP == "" && len(s.ClusterIPs) == 0 {
		s.ClusterIP, s.ClusterIPs = was.ClusterIP, was.ClusterIPs
	} else if s.ClusterIP != was.ClusterIP && slices.Equal(s.ClusterIPs, was.ClusterIPs) {
		// Only the older of the two names of the field was written.
		s.ClusterIPs = nil
	}
	if len(s.IPFamilies) == 0 {
		s.IPFamilies = was.IPFamilies
	}
	if s.IPFamilyPolicy == nil {
		s.IPFamilyPolicy = was.IPFamilyPolicy
	}
}

func keepNodePorts(s, was *corev1.ServiceSpec) {
	if !hasNodePort(s.Type) || !hasNodePort(was.Type) {
		return
	}
	if s.HealthCheckNodePort == 0 && s.ExternalTrafficPolicy == was.ExternalTrafficPolicy {
		s.HealthCheckNodePort = was.HealthCheckNodePort
	}
	taken := map[int32]bool{}
	for _, p := range s.Ports {
		taken[p.NodePort] = true
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		for _, before := range was.Ports {
			if p.NodePort == 0 && p.Port == before.Port && p.Protocol == before.Protocol && !taken[before.NodePort] {
				p.NodePort = before.NodePort
			}
		}
	}
}

func dropClusterIP(s, was *corev1.ServiceSpec) {
	if s.ClusterIP == was.ClusterIP {
		s.ClusterIP = ""
	}
	if slices.Equal(s.ClusterIPs, was.ClusterIPs) {
		s.ClusterIPs = nil
	}
	if slices.Equal(s.IPFamilies, was.IPFamilies) {
		s.IPFamilies = nil
	}
	if deref(s.IPFamilyPolicy, "") == deref(was.IPFamilyPolicy, "") {
		s.IPFamilyPolicy = nil
	}
	s.InternalTrafficPolicy = nil
}

func dropNodePorts(s, was *corev1.ServiceSpec) {
	for i := range s.Ports {
		for _, before := range was.Ports {
			if s.Ports[i].NodePort == before.NodePort {
				s.Ports[i].NodePort = 0
			}
		}
	}
	if s.HealthCheckNodePort == was.HealthCheckNodePort {
		s.HealthCheckNodePort = 0
	}
}

func dropLoadBalancer(s, was *corev1.ServiceSpec) {
	if deref(s.AllocateLoadBalancerNodePorts, false) == deref(was.AllocateLoadBalancerNodePorts, false) {
		s.AllocateLoadBalancerNodePorts = nil
	}
	if deref(s.LoadBalancerClass, "") == deref(was.LoadBalancerClass, "") {
		s.LoadBalancerClass = nil
	}
}
