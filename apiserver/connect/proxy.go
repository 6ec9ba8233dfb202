package connect

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/rest"
)

// proxy hands a whole request on to a pod, a pod behind a service, or an
// agent. The name in the path is "name", "name:port" or "scheme:name:port".
func (c *Connector) proxy(w http.ResponseWriter, r *http.Request, info *rest.RequestInfo, o txn.Object) error {
	scheme, _, port, valid := utilnet.SplitSchemeNamePort(info.Name)
	if !valid {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid request %q: want name, name:port or scheme:name:port", info.Name))
	}
	if scheme == "" {
		scheme = "http"
	}
	var (
		address   netip.AddrPort
		err       error
		target    *url.URL
		transport = c.pods
	)
	switch o := o.(type) {
	case *corev1.Pod:
		address, err = c.podAddress(o, port)
	case *corev1.Service:
		address, err = c.serviceAddress(o, port)
	case *corev1.Node:
		transport = c.agentTransport(o.Name)
		if target, err = c.agent(o.Name); err == nil && port != "" && port != target.Port() {
			err = apierrors.NewBadRequest(fmt.Sprintf("port %s of node %s is not its agent's, which is %s", port, o.Name, target.Port()))
		}
	default:
		err = apierrors.NewMethodNotSupported(info.GroupResource(), "proxy")
	}
	if err != nil {
		return err
	}
	if target == nil {
		if err := c.reachable(address); err != nil {
			return err
		}
		target = &url.URL{Scheme: scheme, Host: address.String()}
	}
	if target.Path, err = url.PathUnescape(info.Tail); err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("path %q: %v", info.Tail, err))
	}
	target.RawPath, target.RawQuery = info.Tail, r.URL.RawQuery
	if n, ok := o.(*corev1.Node); ok && httpstream.IsUpgradeRequest(r) {
		transport, target = c.streamTransport(n.Name, target)
	}
	handler := utilproxy.NewUpgradeAwareHandler(target, transport, true, false, c.responder())
	handler.ServeHTTP(hijacker{w}, withoutCredentials(c.quietly(r.Context()), r))
	return nil
}

// reachable refuses the addresses that no pod has of its own.
func (c *Connector) reachable(to netip.AddrPort) error {
	ip := to.Addr().Unmap()
	if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return apierrors.NewBadRequest(fmt.Sprintf("address not allowed: %s", ip))
	}
	if netip.AddrPortFrom(ip, to.Port()) == c.Own {
		return apierrors.NewBadRequest("the API server does not proxy to itself")
	}
	return nil
}

// podAddress is a pod's address with a port: the first that it names unless
// one is asked for.
func (c *Connector) podAddress(pod *corev1.Pod, port string) (netip.AddrPort, error) {
	ip, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil {
		return netip.AddrPort{}, apierrors.NewServiceUnavailable(fmt.Sprintf("pod %s has no address yet", pod.Name))
	}
	number := uint64(80)
	if port != "" {
		if number, err = strconv.ParseUint(port, 10, 16); err != nil {
			return netip.AddrPort{}, apierrors.NewBadRequest(fmt.Sprintf("invalid port %q of pod %s", port, pod.Name))
		}
		return netip.AddrPortFrom(ip, uint16(number)), nil
	}
	for i := range pod.Spec.Containers {
		if ports := pod.Spec.Containers[i].Ports; len(ports) > 0 {
			number = uint64(ports[0].ContainerPort)
			break
		}
	}
	return netip.AddrPortFrom(ip, uint16(number)), nil
}

// serviceAddress picks one of a service's ready pods at random. An endpoint
// that is no pod's present address is left out: whoever may write endpoints
// does not thereby reach what this server does.
func (c *Connector) serviceAddress(service *corev1.Service, port string) (netip.AddrPort, error) {
	none := netip.AddrPort{}
	if number, err := strconv.ParseInt(port, 10, 32); err == nil {
		found := false
		for i := range service.Spec.Ports {
			if p := &service.Spec.Ports[i]; int64(p.Port) == number {
				port, found = p.Name, true
				break
			}
		}
		if !found {
			return none, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, service.Name))
		}
	}
	view := c.View()
	var all []netip.AddrPort
	selector := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name})
	for o := range view.Each(slices, service.Namespace) {
		slice, ok := o.(*discoveryv1.EndpointSlice)
		if !ok || !selector.Matches(labels.Set(slice.Labels)) {
			continue
		}
		number, ok := slicePort(slice, port)
		if !ok {
			continue
		}
		for i := range slice.Endpoints {
			if ip, ok := podEndpoint(view, service.Namespace, &slice.Endpoints[i]); ok {
				all = append(all, netip.AddrPortFrom(ip, number))
			}
		}
	}
	if len(all) == 0 {
		return none, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", service.Name))
	}
	return all[rand.IntN(len(all))], nil
}

func slicePort(slice *discoveryv1.EndpointSlice, name string) (uint16, bool) {
	for i := range slice.Ports {
		p := &slice.Ports[i]
		if p.Port == nil || *p.Port <= 0 || *p.Port > 65535 || p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP {
			continue
		}
		if p.Name == nil && name == "" || p.Name != nil && *p.Name == name {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// podEndpoint is an endpoint's address if it is ready and a pod has it.
func podEndpoint(view txn.View, namespace string, e *discoveryv1.Endpoint) (netip.Addr, bool) {
	if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || len(e.Addresses) == 0 || e.Conditions.Ready != nil && !*e.Conditions.Ready {
		return netip.Addr{}, false
	}
	o, ok := view.Get(txn.Ref{Resource: podsKind, Namespace: namespace, Name: e.TargetRef.Name})
	if !ok {
		return netip.Addr{}, false
	}
	for _, ip := range o.(*corev1.Pod).Status.PodIPs {
		if net.ParseIP(ip.IP).Equal(net.ParseIP(e.Addresses[0])) {
			address, err := netip.ParseAddr(ip.IP)
			return address, err == nil
		}
	}
	return netip.Addr{}, false
}
