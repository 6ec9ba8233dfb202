// Package endpoint says which pods stand behind a Service, on which ports and
// in what condition: what EndpointSlices and Endpoints have in common. Pure.
package endpoint

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/net"

	"github.com/headway-sh/headway/reconciler/podstate"
)

// Endpoint is a pod behind a Service in one address family.
type Endpoint struct {
	Pod     *corev1.Pod
	Address string
	// Ready says that it should get connections, Serving that it could, and
	// Terminating that it is about to go.
	Ready, Serving, Terminating bool
	// Hostname is the pod's own name below the Service's; mostly empty.
	Hostname string
	Ports    []Port
}

// Port is a Service port as this pod serves it.
type Port struct {
	Name        string
	Protocol    corev1.Protocol
	Number      int32
	AppProtocol string
}

// Managed tells whether the Service's endpoints are made from pods.
func Managed(s *corev1.Service) bool {
	return s.Spec.Selector != nil && s.Spec.Type != corev1.ServiceTypeExternalName && s.DeletionTimestamp == nil
}

// Headless tells whether the Service has no virtual address.
func Headless(s *corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }

// Families are the address families of the Service.
func Families(s *corev1.Service) []corev1.IPFamily {
	if len(s.Spec.IPFamilies) > 0 {
		return s.Spec.IPFamilies
	}
	if net.IsIPv6String(s.Spec.ClusterIP) {
		return []corev1.IPFamily{corev1.IPv6Protocol}
	}
	return []corev1.IPFamily{corev1.IPv4Protocol}
}

// Of gives the endpoints of a family, in the order of the pods' names.
func Of(s *corev1.Service, pods []*corev1.Pod, family corev1.IPFamily) []Endpoint {
	var out []Endpoint
	for _, p := range pods {
		address := Address(p, family)
		if podstate.IsTerminal(p) || address == "" {
			continue
		}
		e := Endpoint{Pod: p, Address: address, Serving: podstate.IsReady(p), Terminating: p.DeletionTimestamp != nil, Ports: ports(s, p)}
		e.Ready = s.Spec.PublishNotReadyAddresses || e.Serving && !e.Terminating
		if p.Spec.Hostname != "" && p.Spec.Subdomain == s.Name {
			e.Hostname = p.Spec.Hostname
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Endpoint) int { return strings.Compare(a.Pod.Name, b.Pod.Name) })
	return out
}

// Address is the pod's address in a family; empty without one.
func Address(p *corev1.Pod, family corev1.IPFamily) string {
	wants6 := family == corev1.IPv6Protocol
	for _, ip := range p.Status.PodIPs {
		if net.IsIPv6String(ip.IP) == wants6 {
			return ip.IP
		}
	}
	if len(p.Status.PodIPs) == 0 && p.Status.PodIP != "" && net.IsIPv6String(p.Status.PodIP) == wants6 {
		return p.Status.PodIP
	}
	return ""
}

// ports resolves the Service's ports on a pod; a named one that the pod does
// not have is left out.
func ports(s *corev1.Service, p *corev1.Pod) []Port {
	var out []Port
	for _, port := range s.Spec.Ports {
		number := port.TargetPort.IntVal
		if port.TargetPort.Type == intstr.String {
			number = named(p, port.TargetPort.StrVal, port.Protocol)
		} else if number == 0 {
			number = port.Port
		}
		if number == 0 {
			continue
		}
		resolved := Port{Name: port.Name, Protocol: cmp.Or(port.Protocol, corev1.ProtocolTCP), Number: number}
		if port.AppProtocol != nil {
			resolved.AppProtocol = *port.AppProtocol
		}
		out = append(out, resolved)
	}
	return out
}

func named(p *corev1.Pod, name string, protocol corev1.Protocol) int32 {
	containers := slices.Clone(p.Spec.Containers)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, port := range c.Ports {
			if port.Name == name && cmp.Or(port.Protocol, corev1.ProtocolTCP) == cmp.Or(protocol, corev1.ProtocolTCP) {
				return port.ContainerPort
			}
		}
	}
	return 0
}
