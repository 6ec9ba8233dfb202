package admission

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

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
// Addresses come from the server's own ranges and from every ServiceCIDR that
// is not on its way out. One is taken by an IPAddress object of its name, a node port by its
// bit in one RangeAllocation. Both are written in the Service's own
// transaction and compared with what the View had, so two writers that chose
// the same one cannot both succeed: the loser plans again.
func serviceAddresses(c Config) write.Step {
	addresses := addressPool{primary: c.ServiceCIDR, secondary: c.SecondaryServiceCIDR}
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
		if s.Spec.ClusterIP == "" && len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIP = old.Spec.ClusterIP
		}
		if len(s.Spec.ClusterIPs) == 0 && s.Spec.ClusterIP == old.Spec.ClusterIP {
			s.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
		}
		if len(s.Spec.IPFamilies) == 0 {
			s.Spec.IPFamilies = slices.Clone(old.Spec.IPFamilies)
		}
		if s.Spec.IPFamilyPolicy == nil {
			s.Spec.IPFamilyPolicy = old.Spec.IPFamilyPolicy
		}
		dropSecondary(s, old)
	}
	keepPorts(s, old)
}

// settle brings families and taken addresses in line with a Service.
func (p addressPool) settle(view txn.View, r *write.Request, s, old *corev1.Service) field.ErrorList {
	had := addresses(old)
	if !hasAddress(s) {
		s.Spec.ClusterIP, s.Spec.ClusterIPs = "", nil
		s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = nil, nil
		p.release(view, r, had)
		return nil
	}
	if s.Spec.ClusterIP == "" && len(s.Spec.ClusterIPs) > 0 {
		s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	}
	if s.Spec.ClusterIP != "" && len(s.Spec.ClusterIPs) == 0 {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	if errs := settleFamilies(s, p.families()); len(errs) > 0 {
		return errs
	}
	if errs := p.fill(view, r, s); len(errs) > 0 {
		return errs
	}
	has := addresses(s)
	if errs := p.takeNew(view, r, s, has, had); len(errs) > 0 {
		return errs
	}
	p.release(view, r, slices.DeleteFunc(had, func(ip netip.Addr) bool { return slices.Contains(has, ip) }))
	return nil
}

// fill gives the Service an address of each family that it has none of.
func (p addressPool) fill(view txn.View, r *write.Request, s *corev1.Service) field.ErrorList {
	if headless(s) {
		return nil
	}
	for i := len(s.Spec.ClusterIPs); i < len(s.Spec.IPFamilies); i++ {
		ip, ok := p.free(view, r, s, s.Spec.IPFamilies[i])
		if !ok {
			return field.ErrorList{field.InternalError(field.NewPath("spec", "clusterIPs").Index(i), errors.New("failed to allocate a serviceIP: range is full"))}
		}
		s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, ip.String())
	}
	s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	return nil
}

// takeNew takes the addresses that the Service has and did not have.
func (p addressPool) takeNew(view txn.View, r *write.Request, s *corev1.Service, has, had []netip.Addr) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range has {
		if slices.Contains(had, ip) {
			continue
		}
		if problem := p.take(view, r, ip, s); problem != "" {
			errs = append(errs, field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %s", ip, problem)))
		}
	}
	return errs
}

// addresses are a Service's own addresses; what is no address is left to
// validation.
func addresses(s *corev1.Service) []netip.Addr {
	if headless(s) || !hasAddress(s) {
		return nil
	}
	var all []netip.Addr
	for _, text := range s.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil {
			all = append(all, ip)
		}
	}
	return all
}

// take records that an address belongs to a Service, or says why it cannot.
func (p addressPool) take(view txn.View, r *write.Request, ip netip.Addr, s *corev1.Service) string {
	ranges := p.ranges(view, r, familyOf(ip))
	if !slices.ContainsFunc(ranges, func(a addressRange) bool { return a.offers(ip) }) {
		return fmt.Sprintf("the provided IP (%s) is not in the valid range. The range of valid IPs is %s", ip, rangesText(ranges))
	}
	if _, taken := view.Get(addressRef(ip)); taken {
		return "provided IP is already allocated"
	}
	r.Also(addressRef(ip), &networkingv1.IPAddress{
		TypeMeta: metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "IPAddress"},
		ObjectMeta: metav1.ObjectMeta{
			Name: ip.String(), UID: uuid.NewUUID(), CreationTimestamp: metav1.Time{Time: r.Now.UTC().Truncate(1e9)},
			Labels: map[string]string{labelManagedBy: managedBy, labelFamily: string(familyOf(ip))},
		},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: s.Namespace, Name: s.Name}},
	})
	return ""
}

func (p addressPool) release(view txn.View, r *write.Request, gone []netip.Addr) {
	for _, ip := range gone {
		if _, ok := view.Get(addressRef(ip)); ok {
			r.Also(addressRef(ip), nil)
		}
	}
}
