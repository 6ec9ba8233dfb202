package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/internal/podgroup"
)

// Pod is a pod of this node, as far as policies are concerned.
type Pod struct {
	UID       types.UID
	Namespace string
	Labels    map[string]string
	Addresses []netip.Addr
	// Ports are its named ports, as podgroup.PortName has the names.
	Ports map[string]int32
}

// PodOf makes it from the object and the addresses that the pod has.
func PodOf(o *corev1.Pod, addresses []netip.Addr) Pod {
	p := Pod{UID: o.UID, Namespace: o.Namespace, Labels: o.Labels, Addresses: addresses, Ports: map[string]int32{}}
	for _, containers := range [][]corev1.Container{o.Spec.Containers, o.Spec.InitContainers} {
		for i := range containers {
			for _, c := range containers[i].Ports {
				name := podgroup.PortName(c.Protocol, c.Name)
				if _, known := p.Ports[name]; c.Name != "" && !known {
					p.Ports[name] = c.ContainerPort
				}
			}
		}
	}
	return p
}

// Model is the rules that policies, pods and groups ask for. Each change costs
// what it changes: a pod, matching the policies of its namespace; a slice, its
// members. It is not safe for concurrent use.
type Model struct {
	tables   []*table
	policies map[types.NamespacedName]*policy
	pods     map[types.UID]*Pod
	slices   map[podgroup.Key]map[string]*discoveryv1.EndpointSlice
	// spoken are the ports of groups, by name, that there are sets of, with how
	// many; "" are its addresses.
	spoken map[podgroup.Key]map[string]int
}

// NewModel makes an empty one for the sets and chains of a bridge: for IPv4, or
// for both families.
func NewModel(bridge string, dual bool) *Model {
	m := &Model{policies: map[types.NamespacedName]*policy{}, pods: map[types.UID]*Pod{},
		slices: map[podgroup.Key]map[string]*discoveryv1.EndpointSlice{}, spoken: map[podgroup.Key]map[string]int{}}
	m.tables = append(m.tables, newTable(bridge, false))
	if dual {
		m.tables = append(m.tables, newTable(bridge, true))
	}
	return m
}

// SetPolicy takes a policy's state, new or changed.
func (m *Model) SetPolicy(o *networkingv1.NetworkPolicy) {
	name := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
	m.DeletePolicy(name)
	p := read(o)
	m.policies[name] = p
	for _, pod := range m.pods {
		m.admit(p, pod)
	}
}

// DeletePolicy forgets a policy.
func (m *Model) DeletePolicy(name types.NamespacedName) {
	p := m.policies[name]
	if p == nil {
		return
	}
	for _, pod := range p.pods {
		m.release(p, pod)
	}
	delete(m.policies, name)
}

// SetPod takes a pod's state, new or changed.
func (m *Model) SetPod(pod Pod) {
	m.DeletePod(pod.UID)
	m.pods[pod.UID] = &pod
	for _, p := range m.policies {
		m.admit(p, &pod)
	}
}

// DeletePod forgets a pod.
func (m *Model) DeletePod(uid types.UID) {
	pod := m.pods[uid]
	if pod == nil {
		return
	}
	for _, p := range m.policies {
		if p.pods[uid] != nil {
			m.release(p, pod)
		}
	}
	delete(m.pods, uid)
}

// SetSlice takes a slice's state, new or changed.
func (m *Model) SetSlice(o *discoveryv1.EndpointSlice) {
	key := podgroup.Key(o.Labels[podgroup.Label])
	old := m.slices[key][o.Name]
	m.member(key, o, 1) // first, so that who stays is a member throughout
	if old != nil {
		m.member(key, old, -1)
	}
	if m.slices[key] == nil {
		m.slices[key] = map[string]*discoveryv1.EndpointSlice{}
	}
	m.slices[key][o.Name] = o
}

// DeleteSlice forgets a slice.
func (m *Model) DeleteSlice(o *discoveryv1.EndpointSlice) {
	key := podgroup.Key(o.Labels[podgroup.Label])
	old := m.slices[key][o.Name]
	if old == nil {
		return
	}
	m.member(key, old, -1)
	if delete(m.slices[key], o.Name); len(m.slices[key]) == 0 {
		delete(m.slices, key)
	}
}

// member counts a slice's elements in all sets of its group.
func (m *Model) member(key podgroup.Key, o *discoveryv1.EndpointSlice, by int) {
	for port := range m.spoken[key] {
		for _, t := range m.tables {
			for _, e := range elements(o, port, t.ipv6) {
				t.count(t.names.group(key, port), e, by)
			}
		}
	}
}

// elements are what a slice adds to the set of its group's addresses or ports.
func elements(o *discoveryv1.EndpointSlice, port string, ipv6 bool) []string {
	if (o.AddressType == discoveryv1.AddressTypeIPv6) != ipv6 {
		return nil
	}
	suffix := ""
	if port != "" {
		i := slices.IndexFunc(o.Ports, func(p discoveryv1.EndpointPort) bool { return ptr.Deref(p.Name, "") == port })
		if i < 0 {
			return nil
		}
		suffix = portElement(port, ptr.Deref(o.Ports[i].Port, 0))
	}
	var all []string
	for _, e := range o.Endpoints {
		for _, text := range e.Addresses {
			if a, err := netip.ParseAddr(text); err == nil {
				all = append(all, a.Unmap().String()+suffix)
			}
		}
	}
	return all
}

// portElement is the end of an element for a port of that name.
func portElement(name string, number int32) string {
	protocol, _, _ := strings.Cut(name, "-")
	return fmt.Sprintf(",%s:%d", protocol, number)
}

// admit puts a pod under a policy if it selects it.
func (m *Model) admit(p *policy, pod *Pod) {
	if p.namespace != pod.Namespace || !p.selector.Matches(labels.Set(pod.Labels)) {
		return
	}
	if len(p.pods) == 0 {
		m.install(p)
	}
	p.pods[pod.UID] = pod
	m.isolate(p, pod, 1)
}

func (m *Model) release(p *policy, pod *Pod) {
	m.isolate(p, pod, -1)
	if delete(p.pods, pod.UID); len(p.pods) == 0 {
		m.uninstall(p)
	}
}

// isolate counts the pod's addresses in the sets of a policy and of what is
// isolated.
func (m *Model) isolate(p *policy, pod *Pod, by int) {
	for _, t := range m.tables {
		for _, a := range pod.Addresses {
			if a.Is6() != t.ipv6 {
				continue
			}
			element := a.String()
			for d := range p.rules {
				t.count(t.names.isolatedTo(d), element, by)
				t.count(t.names.pods(p.name, d), element, by)
			}
			for _, name := range p.ownPorts() {
				if number, ok := pod.Ports[name]; ok {
					t.count(t.names.own(p.name, name), element+portElement(name, number), by)
				}
			}
			t.count(t.names.isolated, element, by)
		}
	}
}

// install makes the sets and chains of a policy that has begun to select pods.
func (m *Model) install(p *policy) {
	for _, t := range m.tables {
		t.refer(t.names.isolated, Addresses)
		for _, name := range p.ownPorts() {
			t.refer(t.names.own(p.name, name), Ports)
		}
		for d, rules := range p.rules {
			t.refer(t.names.isolatedTo(d), Addresses)
			if len(rules) == 0 {
				continue // nothing is allowed
			}
			text, sources := p.compile(t.names, d, t.ipv6)
			t.refer(t.names.pods(p.name, d), Addresses)
			t.setChain(t.names.policy(p.name, d), text)
			t.policies[d][p.name] = true
			for _, s := range sources {
				m.refer(t, s)
			}
		}
	}
}

func (m *Model) uninstall(p *policy) {
	for _, t := range m.tables {
		t.drop(t.names.isolated)
		for _, name := range p.ownPorts() {
			t.drop(t.names.own(p.name, name))
		}
		for d, rules := range p.rules {
			t.drop(t.names.isolatedTo(d))
			if len(rules) == 0 {
				continue
			}
			t.drop(t.names.pods(p.name, d))
			t.dropChain(t.names.policy(p.name, d))
			delete(t.policies[d], p.name)
			_, sources := p.compile(t.names, d, t.ipv6)
			for _, s := range sources {
				m.drop(t, s)
			}
		}
	}
}

// refer adds a reference to a source's set, and fills one that is new.
func (m *Model) refer(t *table, s source) {
	if !t.refer(s.set, s.kind) {
		return
	}
	for _, e := range s.elements {
		t.count(s.set, e, 1)
	}
	if s.group == "" {
		return
	}
	if m.spoken[s.group] == nil {
		m.spoken[s.group] = map[string]int{}
	}
	m.spoken[s.group][s.port]++ // once for each table
	for _, o := range m.slices[s.group] {
		for _, e := range elements(o, s.port, t.ipv6) {
			t.count(s.set, e, 1)
		}
	}
}

func (m *Model) drop(t *table, s source) {
	if !t.drop(s.set) || s.group == "" {
		return
	}
	if m.spoken[s.group][s.port]--; m.spoken[s.group][s.port] == 0 {
		delete(m.spoken[s.group], s.port)
	}
	if len(m.spoken[s.group]) == 0 {
		delete(m.spoken, s.group)
	}
}
