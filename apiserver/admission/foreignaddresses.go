package admission

import (
	"context"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authz"
	"github.com/headway-sh/headway/apiserver/write"
)

// externalIPs refuses Services that claim addresses from outside the allowed
// ranges: every node would take the traffic to them, whosever they are.
// Kubernetes has the same refusal (DenyServiceExternalIPs) but not by default.
func externalIPs(allowed []netip.Prefix) write.Step {
	return write.Step{Name: "DenyServiceExternalIPs", Validate: func(_ context.Context, _ txn.View, r *write.Request) error {
		if r.Ref.Resource != servicesResource || r.Subresource != "" || r.Object == nil {
			return nil
		}
		var had []string
		if old, ok := r.Old.(*corev1.Service); ok {
			had = old.Spec.ExternalIPs
		}
		for _, ip := range r.Object.(*corev1.Service).Spec.ExternalIPs {
			if !slices.Contains(had, ip) && !within(allowed, ip) {
				return forbidden(r, "Use of external IPs is denied by admission control")
			}
		}
		return nil
	}}
}

func within(ranges []netip.Prefix, ip string) bool {
	addr, err := netip.ParseAddr(ip)
	return err == nil && slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
}

var (
	endpointsResource      = corev1.Resource("endpoints")
	endpointSlicesResource = schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}
)

// foreignEndpoints keeps those who may write endpoints in a namespace from
// drawing a Service's traffic, and with it the reach of whoever connects to
// Services, to addresses that are not theirs: service addresses, nodes, and the
// pods of other namespaces. Who may create endpoints/restricted may do so, as
// the controllers do; addresses outside the cluster are everybody's.
func foreignEndpoints(services ...netip.Prefix) write.Step {
	return write.Step{Name: "RestrictedEndpoints", Validate: func(_ context.Context, view txn.View, r *write.Request) error {
		if r.Object == nil || r.Ref.Resource != endpointsResource && r.Ref.Resource != endpointSlicesResource {
			return nil
		}
		had := endpointAddresses(r.Old)
		wants := slices.DeleteFunc(endpointAddresses(r.Object), func(ip string) bool { return slices.Contains(had, ip) })
		if len(wants) == 0 || mayPointAnywhere(view, r) {
			return nil
		}
		for _, ip := range wants {
			_, taken := view.Get(txn.Ref{Resource: ipAddresses, Name: ip})
			if taken || within(services, ip) {
				return forbidden(r, "endpoint address %s is a service address, and is restricted", ip)
			}
		}
		return othersAddress(view, r, wants)
	}}
}

func mayPointAnywhere(view txn.View, r *write.Request) bool {
	right := rbacv1.PolicyRule{Verbs: []string{"create"}, APIGroups: []string{r.Ref.Resource.Group}, Resources: []string{r.Ref.Resource.Resource + "/restricted"}}
	return len(authz.Uncovered(view, r.Identity, r.Ref.Namespace, []rbacv1.PolicyRule{right})) == 0
}

func othersAddress(view txn.View, r *write.Request, wants []string) error {
	for o := range view.Each(nodesResource, "") {
		for _, a := range o.(*corev1.Node).Status.Addresses {
			if slices.Contains(wants, a.Address) {
				return forbidden(r, "endpoint address %s belongs to node %s, and is restricted", a.Address, o.GetName())
			}
		}
	}
	for o := range view.Each(podsResource, "") {
		pod := o.(*corev1.Pod)
		if pod.Namespace == r.Ref.Namespace && !pod.Spec.HostNetwork {
			continue
		}
		for _, ip := range pod.Status.PodIPs {
			if slices.Contains(wants, ip.IP) {
				return forbidden(r, "endpoint address %s belongs to a pod of another namespace, and is restricted", ip.IP)
			}
		}
	}
	return nil
}

func endpointAddresses(o txn.Object) []string {
	var all []string
	switch o := o.(type) {
	case *corev1.Endpoints: //nolint:staticcheck // deprecated, and served
		for _, s := range o.Subsets {
			for _, a := range slices.Concat(s.Addresses, s.NotReadyAddresses) {
				all = append(all, a.IP)
			}
		}
	case *discoveryv1.EndpointSlice:
		for _, e := range o.Endpoints {
			all = append(all, e.Addresses...)
		}
	}
	return all
}
