package policy_test

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/internal/podgroup"
	"github.com/headway-sh/headway/nodeagent/policy/emulator"
)

// world is a cluster, and the slow and obvious answer to what may reach what.
type world struct {
	namespaces map[string]map[string]string
	pods       map[string]*corev1.Pod // by namespace/name
	policies   map[string]*networkingv1.NetworkPolicy
}

func (w *world) podAt(a netip.Addr) *corev1.Pod {
	for _, p := range w.pods {
		for _, ip := range p.Status.PodIPs {
			if ip.IP == a.String() {
				return p
			}
		}
	}
	return nil
}

// allows is the API reference's word on policies: a pod that a policy of a
// direction selects is isolated in it but for what some such policy allows.
func (w *world) allows(p emulator.Packet, node string) bool {
	src, dst := w.podAt(p.Src), w.podAt(p.Dst)
	if p.Established || src != nil && src == dst {
		return true
	}
	if src != nil && src.Spec.NodeName == node && !w.side(src, networkingv1.PolicyTypeEgress, p.Dst, dst, dst, p) {
		return false
	}
	return dst == nil || dst.Spec.NodeName != node || w.side(dst, networkingv1.PolicyTypeIngress, p.Src, src, dst, p)
}

func (w *world) side(pod *corev1.Pod, kind networkingv1.PolicyType, peer netip.Addr, peerPod, target *corev1.Pod, p emulator.Packet) bool {
	isolated := false
	for _, policy := range w.policies {
		if policy.Namespace != pod.Namespace || !matches(&policy.Spec.PodSelector, pod.Labels) || !about(policy, kind) {
			continue
		}
		isolated = true
		if kind == networkingv1.PolicyTypeIngress {
			for _, r := range policy.Spec.Ingress {
				if w.anyPeer(policy.Namespace, r.From, peer, peerPod) && anyPort(r.Ports, target, p) {
					return true
				}
			}
			continue
		}
		for _, r := range policy.Spec.Egress {
			if w.anyPeer(policy.Namespace, r.To, peer, peerPod) && anyPort(r.Ports, target, p) {
				return true
			}
		}
	}
	return !isolated
}

func about(p *networkingv1.NetworkPolicy, kind networkingv1.PolicyType) bool {
	for _, t := range p.Spec.PolicyTypes {
		if t == kind {
			return true
		}
	}
	return len(p.Spec.PolicyTypes) == 0 && (kind == networkingv1.PolicyTypeIngress || len(p.Spec.Egress) > 0)
}

func (w *world) anyPeer(namespace string, peers []networkingv1.NetworkPolicyPeer, a netip.Addr, pod *corev1.Pod) bool {
	for _, p := range peers {
		if p.IPBlock != nil {
			in := netip.MustParsePrefix(p.IPBlock.CIDR).Contains(a)
			for _, e := range p.IPBlock.Except {
				in = in && !netip.MustParsePrefix(e).Contains(a)
			}
			if in {
				return true
			}
			continue
		}
		if pod == nil {
			continue
		}
		place := pod.Namespace == namespace
		if p.NamespaceSelector != nil {
			place = matches(p.NamespaceSelector, w.namespaces[pod.Namespace])
		}
		if place && (p.PodSelector == nil || matches(p.PodSelector, pod.Labels)) {
			return true
		}
	}
	return len(peers) == 0
}

func anyPort(ports []networkingv1.NetworkPolicyPort, target *corev1.Pod, p emulator.Packet) bool {
	for _, want := range ports {
		protocol := ptr.Deref(want.Protocol, corev1.ProtocolTCP)
		if strings.ToLower(string(protocol)) != p.Protocol {
			continue
		}
		switch {
		case want.Port == nil:
			return true
		case want.Port.Type == intstr.String:
			if target != nil && named(target, want.Port.StrVal, protocol) == int32(p.Port) {
				return true
			}
		case int32(p.Port) >= want.Port.IntVal && int32(p.Port) <= ptr.Deref(want.EndPort, want.Port.IntVal):
			return true
		}
	}
	return len(ports) == 0
}

func named(pod *corev1.Pod, name string, protocol corev1.Protocol) int32 {
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == name && p.Protocol == protocol {
				return p.ContainerPort
			}
		}
	}
	return 0
}

func matches(s *metav1.LabelSelector, l map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(l))
}

// slices are what the controller publishes: here one for each pod and family.
func (w *world) slices() map[string]*discoveryv1.EndpointSlice {
	groups := map[podgroup.Key]podgroup.Group{}
	for _, p := range w.policies {
		for key, g := range podgroup.Needed(p) {
			groups[key] = g
		}
	}
	out := map[string]*discoveryv1.EndpointSlice{}
	for key, g := range groups {
		for name, p := range w.pods {
			if !g.Has(p.Namespace, w.namespaces[p.Namespace], p.Labels) {
				continue
			}
			for i, ip := range p.Status.PodIPs {
				s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip.IP}}}}
				s.Name = fmt.Sprint(key, name, i)
				s.Labels = map[string]string{podgroup.Label: string(key)}
				if strings.Contains(ip.IP, ":") {
					s.AddressType = discoveryv1.AddressTypeIPv6
				}
				for _, c := range p.Spec.Containers {
					for _, port := range c.Ports {
						s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: ptr.To(podgroup.PortName(port.Protocol, port.Name)), Port: ptr.To(port.ContainerPort), Protocol: ptr.To(port.Protocol)})
					}
				}
				out[s.Name] = s
			}
		}
	}
	return out
}
