package endpointslicemirroring_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/headway-sh/headway/reconciler/endpointslicemirroring"
)

func endpoints(port int32, ips ...string) *corev1.Endpoints {
	e := &corev1.Endpoints{}
	e.Namespace, e.Name, e.UID = "shop", "db", "u"
	e.Labels = map[string]string{"team": "data"}
	e.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "note": "x"}
	subset := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: "sql", Port: port, Protocol: corev1.ProtocolTCP}}}
	for _, ip := range ips {
		subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: ip})
	}
	e.Subsets = []corev1.EndpointSubset{subset}
	return e
}

func TestCompute(t *testing.T) {
	t.Parallel()
	plan := endpointslicemirroring.Compute(endpoints(5432, "10.0.0.1", "fd00::1", "10.0.0.2"), nil)
	if len(plan.Create) != 2 || len(plan.Update)+len(plan.Delete) != 0 {
		t.Fatalf("a new object: %+v", plan)
	}
	v4 := plan.Create[0]
	if v4.AddressType != discoveryv1.AddressTypeIPv4 || len(v4.Endpoints) != 2 || !*v4.Endpoints[0].Conditions.Ready || *v4.Ports[0].Port != 5432 {
		t.Errorf("slice %+v", v4)
	}
	want := map[string]string{"team": "data", discoveryv1.LabelServiceName: "db", discoveryv1.LabelManagedBy: "endpointslicemirroring-controller.k8s.io"}
	if diff := cmp.Diff(want, v4.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"note": "x"}, v4.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	have := plan.Create
	if plan = endpointslicemirroring.Compute(endpoints(5432, "10.0.0.1", "fd00::1", "10.0.0.2"), have); len(plan.Create)+len(plan.Update)+len(plan.Delete) != 0 {
		t.Errorf("nothing new: %+v", plan)
	}
	plan = endpointslicemirroring.Compute(endpoints(5433, "10.0.0.1"), have)
	if len(plan.Create) != 0 || len(plan.Update) != 1 || len(plan.Delete) != 1 || *plan.Update[0].Ports[0].Port != 5433 {
		t.Errorf("another port, fewer addresses: %+v", plan)
	}
	if plan = endpointslicemirroring.Compute(nil, have); len(plan.Delete) != 2 {
		t.Errorf("gone: %+v", plan)
	}
}
