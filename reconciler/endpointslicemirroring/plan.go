package endpointslicemirroring

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const (
	managedBy = "endpointslicemirroring-controller.k8s.io"
	// maxAddresses is how many of a subset are mirrored.
	maxAddresses = 1000
	leader       = "control-plane.alpha.kubernetes.io/leader"
)

// Plan is what to write so that the slices show the Endpoints.
type Plan struct{ Create, Update, Delete []*discoveryv1.EndpointSlice }

// mirrored tells whether an Endpoints object asks to be mirrored: it says
// otherwise itself, or it is somebody's election.
func mirrored(e *corev1.Endpoints) bool {
	_, elects := e.Annotations[leader]
	return !elects && e.Labels[discoveryv1.LabelSkipMirror] != "true"
}

// Compute plans the slices of an Endpoints object: one for each subset and
// address family. nil wants none.
func Compute(e *corev1.Endpoints, existing []*discoveryv1.EndpointSlice) Plan {
	var plan Plan
	left := slices.Clone(existing)
	for _, want := range slicesOf(e) {
		at := slices.IndexFunc(left, func(have *discoveryv1.EndpointSlice) bool {
			return have.AddressType == want.AddressType && equality.Semantic.DeepEqual(have.Ports, want.Ports)
		})
		if at < 0 { // other ports on the same name are the same slice still
			at = slices.IndexFunc(left, func(have *discoveryv1.EndpointSlice) bool { return have.AddressType == want.AddressType })
		}
		if at < 0 {
			plan.Create = append(plan.Create, want)
			continue
		}
		have := left[at]
		left = slices.Delete(left, at, at+1)
		next := have.DeepCopy()
		next.Labels, next.Annotations, next.Ports, next.Endpoints = want.Labels, want.Annotations, want.Ports, want.Endpoints
		if !equality.Semantic.DeepEqual(have, next) {
			plan.Update = append(plan.Update, next)
		}
	}
	plan.Delete = left
	return plan
}

func slicesOf(e *corev1.Endpoints) (all []*discoveryv1.EndpointSlice) {
	if e == nil {
		return nil
	}
	for i := range e.Subsets {
		subset := &e.Subsets[i]
		families := map[discoveryv1.AddressType][]discoveryv1.Endpoint{}
		for _, list := range []struct {
			addresses []corev1.EndpointAddress
			ready     bool
		}{{subset.Addresses, true}, {subset.NotReadyAddresses, false}} {
			for j := range list.addresses {
				ip, err := netip.ParseAddr(list.addresses[j].IP)
				if err != nil || len(families[discoveryv1.AddressTypeIPv4])+len(families[discoveryv1.AddressTypeIPv6]) >= maxAddresses {
					continue
				}
				family := discoveryv1.AddressTypeIPv6
				if ip.Is4() {
					family = discoveryv1.AddressTypeIPv4
				}
				families[family] = append(families[family], endpoint(&list.addresses[j], list.ready))
			}
		}
		for _, family := range slices.Sorted(maps.Keys(families)) {
			all = append(all, slice(e, subset, family, families[family]))
		}
	}
	return all
}

func endpoint(a *corev1.EndpointAddress, ready bool) discoveryv1.Endpoint {
	out := discoveryv1.Endpoint{Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(ready)}, TargetRef: a.TargetRef, NodeName: a.NodeName}
	if a.Hostname != "" {
		out.Hostname = ptr.To(a.Hostname)
	}
	return out
}

func slice(e *corev1.Endpoints, subset *corev1.EndpointSubset, family discoveryv1.AddressType, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	labels := maps.Clone(e.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = e.Name, managedBy
	annotations := maps.Clone(e.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: e.Namespace, GenerateName: e.Name + "-", Labels: labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
		},
		AddressType: family, Endpoints: endpoints, Ports: []discoveryv1.EndpointPort{},
	}
	for _, p := range subset.Ports {
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: ptr.To(p.Name), Protocol: ptr.To(p.Protocol), Port: ptr.To(p.Port), AppProtocol: p.AppProtocol})
	}
	return out
}
