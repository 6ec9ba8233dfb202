package admission

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// The labels of address records, as Kubernetes' own allocator sets them.
const (
	labelManagedBy = "ipaddress.kubernetes.io/managed-by"
	labelFamily    = "ipaddress.kubernetes.io/ip-family"
	managedBy      = "ipallocator.k8s.io"
)

var ipAddresses = schema.GroupResource{Group: networkingv1.GroupName, Resource: "ipaddresses"}

// serviceAddresses gives Services their cluster address and node ports.
//
// An address is taken by an IPAddress object of its name, a node port by its
// bit in one RangeAllocation. Both are written in the Service's own
// transaction and compared with what the View had, so two writers that chose
// the same one cannot both succeed: the loser plans again.
func serviceAddresses(c Config) write.Step {
	addresses := addressRange{prefix: c.ServiceCIDR}
	ports := portRange{first: c.FirstNodePort, last: c.LastNodePort}
	return write.Step{
		Name: "ServiceAddresses",
		Mutate: func(_ context.Context, view txn.View, r *write.Request) error {
			if r.Ref.Resource != servicesResource || r.Subresource != "" || r.Object == nil {
				return nil
			}
			service, old := r.Object.(*corev1.Service), &corev1.Service{}
			if r.Old != nil {
				old = r.Old.(*corev1.Service)
				keepAllocated(service, old)
			}
			errs := addresses.settle(view, r, service, old)
			errs = append(errs, ports.settle(view, r, service, old)...)
			if len(errs) > 0 {
				return apierrors.NewInvalid(r.Kind.GVK.GroupKind(), r.Ref.Name, errs)
			}
			return nil
		},
		Gone: func(_ context.Context, view txn.View, r *write.Request) error {
			if r.Ref.Resource != servicesResource {
				return nil
			}
			none := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName}}
			old := r.Old.(*corev1.Service)
			addresses.settle(view, r, none, old)
			ports.settle(view, r, none, old)
			return nil
		},
	}
}

// hasAddress tells whether a Service of this type has a cluster address.
func hasAddress(s *corev1.Service) bool { return s.Spec.Type != corev1.ServiceTypeExternalName }

// headless Services ask for no address.
func headless(s *corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }

// keepAllocated lets an update leave out what was allocated.
func keepAllocated(s, old *corev1.Service) {
	if hasAddress(s) && hasAddress(old) {
		if s.Spec.ClusterIP == "" {
			s.Spec.ClusterIP = old.Spec.ClusterIP
		}
		if len(s.Spec.ClusterIPs) == 0 && s.Spec.ClusterIP == old.Spec.ClusterIP {
			s.Spec.ClusterIPs = old.Spec.ClusterIPs
		}
		if len(s.Spec.IPFamilies) == 0 {
			s.Spec.IPFamilies = old.Spec.IPFamilies
		}
		if s.Spec.IPFamilyPolicy == nil {
			s.Spec.IPFamilyPolicy = old.Spec.IPFamilyPolicy
		}
	}
	keepPorts(s, old)
}

type addressRange struct{ prefix netip.Prefix }

// settle brings the taken addresses in line with a Service.
func (a addressRange) settle(view txn.View, r *write.Request, s, old *corev1.Service) field.ErrorList {
	had := address(old)
	if !hasAddress(s) {
		s.Spec.ClusterIP, s.Spec.ClusterIPs = "", nil
		s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = nil, nil
		a.release(view, r, had)
		return nil
	}
	if len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIP == "" {
		s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	}
	at := field.NewPath("spec", "clusterIPs").Index(0)
	if s.Spec.ClusterIP == "" {
		free, ok := a.free(view, r, s)
		if !ok {
			return field.ErrorList{field.InternalError(at, fmt.Errorf("failed to allocate a serviceIP: range is full"))}
		}
		s.Spec.ClusterIP = free.String()
	}
	if len(s.Spec.ClusterIPs) == 0 {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	a.families(s)
	wants := address(s)
	if wants == had {
		return nil
	}
	if wants.IsValid() {
		if problem := a.take(view, r, wants, s); problem != "" {
			return field.ErrorList{field.Invalid(at, []string{s.Spec.ClusterIP}, fmt.Sprintf("failed to allocate IP %s: %s", wants, problem))}
		}
	}
	a.release(view, r, had)
	return nil
}

func (a addressRange) families(s *corev1.Service) {
	if len(s.Spec.IPFamilies) == 0 {
		s.Spec.IPFamilies = []corev1.IPFamily{family(a.prefix.Addr())}
	}
	if s.Spec.IPFamilyPolicy == nil {
		s.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	}
}

// address is a Service's own address; invalid when it has none.
func address(s *corev1.Service) netip.Addr {
	if headless(s) || !hasAddress(s) {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(s.Spec.ClusterIP)
	if err != nil {
		return netip.Addr{} // validation says so
	}
	return ip
}

func addressRef(ip netip.Addr) txn.Ref { return txn.Ref{Resource: ipAddresses, Name: ip.String()} }

func family(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// take records that an address belongs to a Service, or says why it cannot.
func (a addressRange) take(view txn.View, r *write.Request, ip netip.Addr, s *corev1.Service) string {
	if !a.prefix.Contains(ip) || ip == a.prefix.Addr() || (ip.Is4() && ip == last(a.prefix)) {
		return fmt.Sprintf("the provided IP (%s) is not in the valid range. The range of valid IPs is %s", ip, a.prefix)
	}
	if _, taken := view.Get(addressRef(ip)); taken {
		return "provided IP is already allocated"
	}
	r.Also(addressRef(ip), &networkingv1.IPAddress{
		TypeMeta: metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "IPAddress"},
		ObjectMeta: metav1.ObjectMeta{
			Name: ip.String(), UID: s.UID, CreationTimestamp: metav1.Time{Time: r.Now.UTC().Truncate(1e9)},
			Labels: map[string]string{labelManagedBy: managedBy, labelFamily: string(family(ip))},
		},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: s.Namespace, Name: s.Name}},
	})
	return ""
}

func (a addressRange) release(view txn.View, r *write.Request, ip netip.Addr) {
	if !ip.IsValid() {
		return
	}
	if _, ok := view.Get(addressRef(ip)); ok {
		r.Also(addressRef(ip), nil)
	}
}
