package kinds

import (
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func endpointsKind() *kind.Kind {
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("Endpoints"),
		Plural:        "endpoints",
		Singular:      "endpoints",
		ShortNames:    []string{"ep"},
		Namespaced:    true,
		StoragePrefix: "services/endpoints",
		New:           func() txn.Object { return &corev1.Endpoints{} },
		NewList:       func() runtime.Object { return &corev1.EndpointsList{} },
		Default: defaults(func(o *corev1.Endpoints) {
			for i := range o.Subsets {
				for j := range o.Subsets[i].Ports {
					setDefault(&o.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
				}
			}
		}),
		Validate:   validate(checkEndpoints),
		Deprecated: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
		Warnings:   warnings(endpointsWarnings),
		Columns:    []column{nameColumn(), str("Endpoints", corev1.Endpoints{}.SwaggerDoc()["subsets"]), ageColumn()},
		Row: row(func(o *corev1.Endpoints, now time.Time) []any {
			return []any{o.Name, endpointsText(o.Subsets), age(o, now)}
		}),
	}
}

func endpointsText(subsets []corev1.EndpointSubset) string {
	var all []string
	for _, s := range subsets {
		if len(s.Ports) == 0 {
			for _, a := range s.Addresses {
				all = append(all, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	return orNone(firstOf(3, all))
}
