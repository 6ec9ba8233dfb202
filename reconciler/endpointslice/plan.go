package endpointslice

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/reconciler/endpoint"
)

const (
	// maxEndpoints is how many one slice holds.
	maxEndpoints = 100
	managedBy    = "endpointslice-controller.k8s.io"
)

// Plan is what to write so that the slices show the endpoints.
type Plan struct{ Create, Update, Delete []*discoveryv1.EndpointSlice }

// group is the endpoints that may share a slice.
type group struct {
	family    discoveryv1.AddressType
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

// Compute plans the slices of a Service from its pods. An endpoint stays in
// the slice it is in, and as few slices as possible are touched. zones gives
// the zone of a node.
func Compute(s *corev1.Service, pods []*corev1.Pod, zones map[string]string, existing []*discoveryv1.EndpointSlice) Plan {
	var plan Plan
	groups := groupsOf(s, pods, zones)
	byKey := map[string][]*discoveryv1.EndpointSlice{}
	for _, slice := range existing {
		k := key(slice.AddressType, slice.Ports)
		if groups[k] == nil {
			plan.Delete = append(plan.Delete, slice)
			continue
		}
		byKey[k] = append(byKey[k], slice)
	}
	for _, k := range slices.Sorted(maps.Keys(groups)) {
		plan.place(s, groups[k], byKey[k])
	}
	return plan
}

func groupsOf(s *corev1.Service, pods []*corev1.Pod, zones map[string]string) map[string]*group {
	groups := map[string]*group{}
	for _, family := range endpoint.Families(s) {
		kind := discoveryv1.AddressType(family)
		endpoints := endpoint.Of(s, pods, family)
		for _, e := range endpoints {
			ports := portsOf(e.Ports)
			k := key(kind, ports)
			if groups[k] == nil {
				groups[k] = &group{family: kind, ports: ports}
			}
			groups[k].endpoints = append(groups[k].endpoints, show(e, zones))
		}
		if len(endpoints) == 0 { // a slice without endpoints says that there are none
			ports := []discoveryv1.EndpointPort{}
			groups[key(kind, ports)] = &group{family: kind, ports: ports}
		}
	}
	return groups
}

func key(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	sorted := slices.SortedFunc(slices.Values(ports), func(a, b discoveryv1.EndpointPort) int {
		return cmp.Or(cmp.Compare(ptr.Deref(a.Name, ""), ptr.Deref(b.Name, "")), cmp.Compare(ptr.Deref(a.Port, 0), ptr.Deref(b.Port, 0)))
	})
	text, err := json.Marshal(sorted)
	if err != nil || len(ports) == 0 {
		text = nil
	}
	return string(family) + string(text)
}

func portsOf(in []endpoint.Port) []discoveryv1.EndpointPort {
	out := []discoveryv1.EndpointPort{}
	for _, p := range in {
		port := discoveryv1.EndpointPort{Name: ptr.To(p.Name), Protocol: ptr.To(p.Protocol), Port: ptr.To(p.Number)}
		if p.AppProtocol != "" {
			port.AppProtocol = ptr.To(p.AppProtocol)
		}
		out = append(out, port)
	}
	return out
}

func show(e endpoint.Endpoint, zones map[string]string) discoveryv1.Endpoint {
	out := discoveryv1.Endpoint{
		Addresses:  []string{e.Address},
		Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(e.Ready), Serving: ptr.To(e.Serving), Terminating: ptr.To(e.Terminating)},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: e.Pod.Namespace, Name: e.Pod.Name, UID: e.Pod.UID},
	}
	if e.Hostname != "" {
		out.Hostname = ptr.To(e.Hostname)
	}
	if node := e.Pod.Spec.NodeName; node != "" {
		out.NodeName = ptr.To(node)
		if zone := zones[node]; zone != "" {
			out.Zone = ptr.To(zone)
		}
	}
	return out
}

func identity(e discoveryv1.Endpoint) string {
	if e.TargetRef == nil {
		return e.Addresses[0]
	}
	return string(e.TargetRef.UID) + e.Addresses[0]
}

// place puts a group's endpoints into its slices and further new ones.
func (p *Plan) place(s *corev1.Service, g *group, existing []*discoveryv1.EndpointSlice) {
	want := map[string]discoveryv1.Endpoint{}
	for _, e := range g.endpoints {
		want[identity(e)] = e
	}
	next := make([]*discoveryv1.EndpointSlice, len(existing))
	for i, slice := range existing {
		next[i] = slice.DeepCopy()
		dress(next[i], s)
		next[i].Endpoints = next[i].Endpoints[:0]
		for _, e := range slice.Endpoints {
			if wanted, ok := want[identity(e)]; ok {
				next[i].Endpoints = append(next[i].Endpoints, wanted)
				delete(want, identity(e))
			}
		}
	}
	var left []discoveryv1.Endpoint
	for _, e := range g.endpoints {
		if _, ok := want[identity(e)]; ok {
			left = append(left, e)
		}
	}
	left = fill(existing, next, left)
	kept := 0
	for i, slice := range next {
		switch {
		case len(slice.Endpoints) == 0 && (len(g.endpoints) > 0 || kept > 0):
			p.Delete = append(p.Delete, slice)
			continue
		case !equality.Semantic.DeepEqual(slice, existing[i]):
			p.Update = append(p.Update, slice)
		}
		kept++
	}
	for len(left) > 0 || kept == 0 {
		n := min(len(left), maxEndpoints)
		p.Create = append(p.Create, newSlice(s, g, left[:n]))
		left = left[n:]
		kept++
	}
}

// fill adds endpoints where there is room, first to slices that are written
// anyway, then to the fullest.
func fill(before, next []*discoveryv1.EndpointSlice, left []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	order := make([]int, len(next))
	for i := range order {
		order[i] = i
	}
	untouched := func(i int) int {
		if equality.Semantic.DeepEqual(before[i], next[i]) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(untouched(a), untouched(b)), cmp.Compare(len(next[b].Endpoints), len(next[a].Endpoints)))
	})
	for _, i := range order {
		n := min(max(maxEndpoints-len(next[i].Endpoints), 0), len(left))
		next[i].Endpoints = append(next[i].Endpoints, left[:n]...)
		left = left[n:]
	}
	return left
}

func newSlice(s *corev1.Service, g *group, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, GenerateName: s.Name + "-",
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s, corev1.SchemeGroupVersion.WithKind("Service"))},
		},
		AddressType: g.family, Ports: g.ports, Endpoints: endpoints,
	}
	dress(slice, s)
	return slice
}

// dress gives a slice the Service's labels and those that say whose it is.
func dress(slice *discoveryv1.EndpointSlice, s *corev1.Service) {
	labels := map[string]string{}
	maps.Copy(labels, s.Labels)
	labels[discoveryv1.LabelServiceName] = s.Name
	labels[discoveryv1.LabelManagedBy] = managedBy
	delete(labels, corev1.IsHeadlessService)
	if endpoint.Headless(s) {
		labels[corev1.IsHeadlessService] = ""
	}
	slice.Labels = labels
}
