package webhook

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

var (
	services       = schema.GroupResource{Resource: "services"}
	endpointSlices = schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}
)

// endpoint is the address of one of a service's ready endpoints. The endpoint
// itself is asked, and not the service's address: the kernel of the server's
// machine need not know the cluster's services.
func endpoint(view txn.View, namespace, name string, port int32) (string, error) {
	o, ok := view.Get(txn.Ref{Resource: services, Namespace: namespace, Name: name})
	if !ok {
		return "", apierrors.NewNotFound(services, name)
	}
	service := o.(*corev1.Service)
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return net.JoinHostPort(service.Spec.ExternalName, strconv.Itoa(int(port))), nil
	}
	portName, found := "", false
	for i := range service.Spec.Ports {
		if p := &service.Spec.Ports[i]; p.Port == port {
			portName, found = p.Name, true
			break
		}
	}
	if !found {
		return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", port, name))
	}
	var all []string
	for o := range view.Each(endpointSlices, namespace) {
		slice := o.(*discoveryv1.EndpointSlice)
		if slice.Labels[discoveryv1.LabelServiceName] != name {
			continue
		}
		if number := slicePort(slice, portName); number != 0 {
			all = append(all, addresses(slice, number)...)
		}
	}
	if len(all) == 0 {
		return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	return all[rand.IntN(len(all))], nil
}

func slicePort(slice *discoveryv1.EndpointSlice, name string) int32 {
	for i := range slice.Ports {
		p := &slice.Ports[i]
		if p.Port == nil || p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP {
			continue
		}
		if p.Name == nil && name == "" || p.Name != nil && *p.Name == name {
			return *p.Port
		}
	}
	return 0
}

// addresses are those of the ready endpoints. What no pod can have as its own
// is left out: whoever may write endpoints does not thereby reach what only
// this machine can.
func addresses(slice *discoveryv1.EndpointSlice, port int32) []string {
	var all []string
	for i := range slice.Endpoints {
		e := &slice.Endpoints[i]
		if e.Conditions.Ready != nil && !*e.Conditions.Ready || len(e.Addresses) == 0 {
			continue
		}
		ip, err := netip.ParseAddr(e.Addresses[0])
		if err != nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
			continue
		}
		all = append(all, net.JoinHostPort(ip.String(), strconv.Itoa(int(port))))
	}
	return all
}
