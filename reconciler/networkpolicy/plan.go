package networkpolicy

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/internal/podgroup"
	"github.com/headway-sh/headway/reconciler/podstate"
)

const (
	// maxEndpoints is how many one slice holds.
	maxEndpoints = 100
	// maxPorts is how many ports the API lets a slice have.
	maxPorts = 100
)

// Plan is what to write so that the slices show the group.
type Plan struct{ Create, Update, Delete []*discoveryv1.EndpointSlice }

// part is the members that may share a slice.
type part struct {
	family  discoveryv1.AddressType
	ports   []discoveryv1.EndpointPort
	members map[string]discoveryv1.Endpoint // by address
}

// Compute plans the slices of a group from its pods. A member stays in the
// slice that it is in, so that one pod's change is one write.
func Compute(key podgroup.Key, pods []*corev1.Pod, existing []*discoveryv1.EndpointSlice) Plan {
	parts := map[string]*part{}
	for _, p := range pods {
		if member(p) {
			show(parts, p)
		}
	}
	var plan Plan
	byPart := map[string][]*discoveryv1.EndpointSlice{}
	for _, slice := range existing {
		name := partName(slice.AddressType, slice.Ports)
		if parts[name] == nil {
			plan.Delete = append(plan.Delete, slice)
			continue
		}
		byPart[name] = append(byPart[name], slice)
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		plan.place(key, parts[name], byPart[name])
	}
	return plan
}

// member tells whether a pod has addresses of its own that it uses. Those of
// the host's network are the node's.
func member(p *corev1.Pod) bool {
	return !p.Spec.HostNetwork && !podstate.IsTerminal(p) && len(p.Status.PodIPs) > 0
}

func show(parts map[string]*part, p *corev1.Pod) {
	ports := portsOf(p)
	for _, ip := range p.Status.PodIPs {
		family := discoveryv1.AddressTypeIPv4
		if net.IsIPv6String(ip.IP) {
			family = discoveryv1.AddressTypeIPv6
		}
		name := partName(family, ports)
		if parts[name] == nil {
			parts[name] = &part{family, ports, map[string]discoveryv1.Endpoint{}}
		}
		parts[name].members[ip.IP] = discoveryv1.Endpoint{Addresses: []string{ip.IP}, NodeName: ptr.To(p.Spec.NodeName),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}}
	}
}

// portsOf are the pod's named ports, in order. Of several with one name and
// protocol the first counts, as everywhere.
func portsOf(p *corev1.Pod) []discoveryv1.EndpointPort {
	var ports []discoveryv1.EndpointPort
	for _, containers := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range containers {
			for _, port := range containers[i].Ports {
				name := podgroup.PortName(port.Protocol, port.Name)
				known := slices.ContainsFunc(ports, func(o discoveryv1.EndpointPort) bool { return *o.Name == name })
				if port.Name == "" || known || len(ports) == maxPorts {
					continue
				}
				ports = append(ports, discoveryv1.EndpointPort{Name: &name, Protocol: ptr.To(cmp.Or(port.Protocol, corev1.ProtocolTCP)), Port: &port.ContainerPort})
			}
		}
	}
	slices.SortFunc(ports, func(a, b discoveryv1.EndpointPort) int { return strings.Compare(*a.Name, *b.Name) })
	return ports
}

func partName(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	var b strings.Builder
	b.WriteString(string(family))
	for _, p := range ports {
		b.WriteString(" " + ptr.Deref(p.Name, "") + "=" + strconv.Itoa(int(ptr.Deref(p.Port, 0))))
	}
	return b.String()
}

// place puts members into the slices that there are, and the rest into those
// with room and further ones.
func (p *Plan) place(key podgroup.Key, want *part, existing []*discoveryv1.EndpointSlice) {
	left := maps.Clone(want.members)
	next := make([]*discoveryv1.EndpointSlice, len(existing))
	for i, slice := range existing {
		next[i] = slice.DeepCopy()
		next[i].Endpoints = nil
		for _, e := range slice.Endpoints {
			if m, ok := left[e.Addresses[0]]; ok {
				next[i].Endpoints = append(next[i].Endpoints, m)
				delete(left, e.Addresses[0])
			}
		}
	}
	rest := slices.Sorted(maps.Keys(left))
	for _, slice := range next {
		n := min(len(rest), max(maxEndpoints-len(slice.Endpoints), 0))
		for _, address := range rest[:n] {
			slice.Endpoints = append(slice.Endpoints, left[address])
		}
		rest = rest[n:]
	}
	for i, slice := range next {
		switch {
		case len(slice.Endpoints) == 0:
			p.Delete = append(p.Delete, existing[i])
		case !equality.Semantic.DeepEqual(slice, existing[i]):
			p.Update = append(p.Update, slice)
		}
	}
	for chunk := range slices.Chunk(rest, maxEndpoints) {
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: podgroup.Namespace, GenerateName: "pods-" + string(key) + "-",
				Labels: map[string]string{discoveryv1.LabelManagedBy: podgroup.ManagedBy, podgroup.Label: string(key)}},
			AddressType: want.family, Ports: want.ports,
		}
		for _, address := range chunk {
			slice.Endpoints = append(slice.Endpoints, left[address])
		}
		p.Create = append(p.Create, slice)
	}
}
