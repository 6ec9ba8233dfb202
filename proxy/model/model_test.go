package model_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/proxy/model"
)

func endpoint(ip, node string, ready, serving bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving}}
}

func ports(endpoints []discoveryv1.Endpoint, edit func(*corev1.Service)) []model.ServicePort {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{
		ClusterIP: "10.96.0.20", Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}}}
	if edit != nil {
		edit(s)
	}
	slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolTCP)}}}
	return model.Ports(s, []*discoveryv1.EndpointSlice{slice}, model.Node{Name: "n1"}, corev1.IPv4Protocol)
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		endpoints      []discoveryv1.Endpoint
		cluster, local []string
	}{
		"ready ones": {[]discoveryv1.Endpoint{endpoint("10.244.1.1", "n2", true, true), endpoint("10.244.0.1", "n1", true, true)},
			[]string{"10.244.0.1:8080", "10.244.1.1:8080"}, []string{"10.244.0.1:8080"}},
		"not the unready": {[]discoveryv1.Endpoint{endpoint("10.244.1.1", "n2", true, true), endpoint("10.244.0.1", "n1", false, false)},
			[]string{"10.244.1.1:8080"}, nil},
		"the last ones serve until they are gone": {[]discoveryv1.Endpoint{endpoint("10.244.1.1", "n2", true, true), endpoint("10.244.0.1", "n1", false, true)},
			[]string{"10.244.1.1:8080"}, []string{"10.244.0.1:8080"}},
		"none": {nil, nil, nil},
	} {
		got := ports(c.endpoints, nil)
		if len(got) != 1 {
			t.Fatalf("%s: %d ports", name, len(got))
		}
		for _, x := range []struct {
			what string
			got  []netip.AddrPort
			want []string
		}{{"cluster", got[0].Cluster, c.cluster}, {"local", got[0].Local, c.local}} {
			var texts []string
			for _, a := range x.got {
				texts = append(texts, a.String())
			}
			if diff := cmp.Diff(x.want, texts, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", name, x.what, diff)
			}
		}
	}
}

func TestServicesWithoutRules(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*corev1.Service){
		"headless":     func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone },
		"ExternalName": func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName },
		"IPv6 only":    func(s *corev1.Service) { s.Spec.ClusterIP = "fd00::1" },
	} {
		if got := ports(nil, edit); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
