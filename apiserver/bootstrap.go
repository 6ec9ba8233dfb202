package apiserver

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authz/policy"
	"github.com/headway-sh/headway/apiserver/fairness"
)

// bootstrapManager owns the fields of what a cluster begins with.
const bootstrapManager = "headway-bootstrap"

// bootstrap writes what is missing: namespaces, priority classes, roles and
// bindings, its own APIServices, the range of services, the API's own Service with its endpoints, and cluster DNS's. A
// second start writes nothing.
func (s *Server) bootstrap(ctx context.Context) error {
	// Namespaces first: what is in them is admitted on a View that has them.
	for _, build := range []func(txn.View) []txn.Change{s.systemNamespaces, s.systemObjects, s.fairness.Conditions} {
		_, _, err := txn.Run(ctx, s.Peer(Masters).Txn(), Masters, txn.CommitOptions{}, func(view txn.View) ([]txn.Change, error) {
			return build(view), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func create(resource schema.GroupResource, version string, o txn.Object) txn.Change {
	return txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: resource, Namespace: o.GetNamespace(), Name: o.GetName()},
		Version: version, Object: o, FieldManager: bootstrapManager}
}

// missing drops the changes whose objects exist.
func missing(view txn.View, changes []txn.Change) []txn.Change {
	var out []txn.Change
	for _, c := range changes {
		if _, ok := view.Get(c.Ref); !ok {
			out = append(out, c)
		}
	}
	return out
}

func (s *Server) systemNamespaces(view txn.View) []txn.Change {
	var all []txn.Change
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		all = append(all, create(schema.GroupResource{Resource: "namespaces"}, "v1", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	return missing(view, all)
}

func (s *Server) systemObjects(view txn.View) []txn.Change {
	changes := append(policy.Changes(view), fairness.Changes(view)...)
	classes := schema.GroupResource{Group: schedulingv1.GroupName, Resource: "priorityclasses"}
	changes = append(changes, missing(view, s.apiServices())...)
	changes = append(changes, missing(view, []txn.Change{
		create(classes, "v1", &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "system-cluster-critical"}, Value: 2_000_000_000,
			Description: "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."}),
		create(classes, "v1", &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "system-node-critical"}, Value: 2_000_001_000,
			Description: "Used for system critical pods that must not be moved from their current node."}),
		create(schema.GroupResource{Group: networkingv1.GroupName, Resource: "servicecidrs"}, "v1", s.serviceCIDR()),
		create(schema.GroupResource{Resource: "services"}, "v1", s.apiService()),
		create(schema.GroupResource{Resource: "services"}, "v1", s.dnsService()),
	})...)
	return append(changes, s.apiEndpoints(view)...)
}

// serviceCIDR shows the server's own ranges to clients, under the name that
// Kubernetes gives them.
func (s *Server) serviceCIDR() *networkingv1.ServiceCIDR {
	c := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{s.config.ServiceCIDR.Masked().String()}}}
	if p := s.config.SecondaryServiceCIDR; p.IsValid() {
		c.Spec.CIDRs = append(c.Spec.CIDRs, p.Masked().String())
	}
	return c
}

func (s *Server) apiService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"}},
		Spec: corev1.ServiceSpec{
			ClusterIP: ServiceAddress(s.config.ServiceCIDR, APIServiceIndex).String(), SessionAffinity: corev1.ServiceAffinityNone, Type: corev1.ServiceTypeClusterIP,
			Ports: []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(int32(s.config.Listen.Port()))}},
		},
	}
}

// dnsService has no selector: every node answers its address itself.
func (s *Server) dnsService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "kube-dns", Labels: map[string]string{"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}},
		Spec: corev1.ServiceSpec{
			ClusterIP: ServiceAddress(s.config.ServiceCIDR, DNSServiceIndex).String(), Type: corev1.ServiceTypeClusterIP,
			Ports: []corev1.ServicePort{{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP}},
		},
	}
}

// apiEndpoints are the endpoints of the API's own Service, as Endpoints and as
// an EndpointSlice: this server's address now.
//
// A loopback address is nobody's endpoint: a server that is reached only from
// its own machine has none, and pods do not reach it.
func (s *Server) apiEndpoints(view txn.View) []txn.Change {
	if s.config.Advertise.IsLoopback() {
		return nil
	}
	address, port := s.config.Advertise.String(), int32(s.config.Listen.Port())
	endpoints := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}},
		Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: address}}, Ports: []corev1.EndpointPort{{Name: "https", Port: port, Protocol: corev1.ProtocolTCP}}}},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}},
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: &port, Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	if s.config.Advertise.Is6() {
		slice.AddressType = discoveryv1.AddressTypeIPv6
	}
	var changes []txn.Change
	for _, c := range []txn.Change{
		create(schema.GroupResource{Resource: "endpoints"}, "v1", endpoints),
		create(schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}, "v1", slice),
	} {
		switch have, ok := view.Get(c.Ref); {
		case !ok:
			changes = append(changes, c)
		case !sameEndpoints(have, c.Object):
			c.Verb = txn.Update
			changes = append(changes, c)
		}
	}
	return changes
}

func sameEndpoints(have, want txn.Object) bool {
	switch h := have.(type) {
	case *corev1.Endpoints:
		return equality.Semantic.DeepEqual(h.Subsets, want.(*corev1.Endpoints).Subsets)
	case *discoveryv1.EndpointSlice:
		w := want.(*discoveryv1.EndpointSlice)
		return equality.Semantic.DeepEqual(h.Endpoints, w.Endpoints) && equality.Semantic.DeepEqual(h.Ports, w.Ports)
	}
	return false
}
