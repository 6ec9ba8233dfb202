package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"strconv"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func endpointSliceKind() *kind.Kind {
	doc := discoveryv1.EndpointSlice{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		Plural:        "endpointslices",
		Singular:      "endpointslice",
		Namespaced:    true,
		StoragePrefix: "endpointslices",
		New:           func() txn.Object { return &discoveryv1.EndpointSlice{} },
		NewList:       func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
		Default: defaults(func(o *discoveryv1.EndpointSlice) {
			for i := range o.Ports {
				setDefaultPtr(&o.Ports[i].Name, "")
				setDefaultPtr(&o.Ports[i].Protocol, corev1.ProtocolTCP)
			}
		}),
		Prepare: prepare(func(o, old *discoveryv1.EndpointSlice) {
			type spec struct {
				Endpoints []discoveryv1.Endpoint
				Ports     []discoveryv1.EndpointPort
				Labels    map[string]string
			}
			countSpecs(o, untyped(old), spec{o.Endpoints, o.Ports, o.Labels}, func() any { return spec{old.Endpoints, old.Ports, old.Labels} })
			if old == nil || !equality.Semantic.DeepEqual(o.Endpoints, old.Endpoints) {
				// Older versions of the API wrote it.
				for i := range o.Endpoints {
					o.Endpoints[i].DeprecatedTopology = nil
				}
			}
		}),
		Indexes: map[string]func(txn.Object) []string{
			IndexService: values(func(o *discoveryv1.EndpointSlice) []string { return labelValue(o, discoveryv1.LabelServiceName) }),
		},
		Validate: validate(checkEndpointSlice),
		Columns: []column{
			nameColumn(), str("AddressType", doc["addressType"]), str("Ports", doc["ports"]),
			str("Endpoints", doc["endpoints"]), ageColumn(),
		},
		Row: row(endpointSliceRow),
	}
}

func endpointSliceRow(o *discoveryv1.EndpointSlice, now time.Time) []any {
	ports := make([]string, len(o.Ports))
	for i, p := range o.Ports {
		if ports[i] = "*"; p.Port != nil {
			ports[i] = strconv.Itoa(int(*p.Port))
		} else if p.Name != nil {
			ports[i] = *p.Name
		}
	}
	var addresses []string
	for _, e := range o.Endpoints {
		addresses = append(addresses, e.Addresses...)
	}
	return []any{o.Name, string(o.AddressType), unsetOr(firstOf(3, ports)), unsetOr(firstOf(3, addresses)), age(o, now)}
}

func unsetOr(s string) string {
	if s == "" {
		return unset
	}
	return s
}
