package apiserver

import (
	"cmp"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/rest"
)

// Priorities of groups and versions that are not listed below.
const (
	otherGroupPriority   = 9900
	otherVersionPriority = 15
)

// groupPriority orders the API's groups for clients that have to choose one,
// as Kubernetes does.
var groupPriority = map[string]int32{
	"": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600, "autoscaling": 17500,
	"batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100, "rbac.authorization.k8s.io": 17000,
	"storage.k8s.io": 16800, "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
	"coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "resource.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100,
	"metrics.k8s.io": 100, // whoever says "pods" does not mean what they use
}

// versionPriority has the versions that Kubernetes ranks otherwise than most.
var versionPriority = map[schema.GroupVersion]int32{
	{Version: "v1"}:                                        1,
	{Group: "autoscaling", Version: "v2"}:                  30,
	{Group: "resource.k8s.io", Version: "v1"}:              21,
	{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}: 21,
}

// apiServices are the APIServices of what the server itself serves: they show
// its groups to those who look for them, and direct no request.
func (s *Server) apiServices() []txn.Change {
	served := map[schema.GroupVersion]bool{}
	for _, k := range s.table.All() {
		if Internal(k) {
			continue
		}
		served[k.GVK.GroupVersion()] = true
		for _, v := range k.Versions {
			served[v.GVK.GroupVersion()] = true
		}
	}
	for gv := range rest.VirtualResources() {
		served[gv] = true
	}
	delete(served, apiregistrationv1.SchemeGroupVersion) // it is how the others are found
	var changes []txn.Change
	resource := schema.GroupResource{Group: apiregistrationv1.GroupName, Resource: "apiservices"}
	for _, gv := range slices.SortedFunc(maps.Keys(served), func(a, b schema.GroupVersion) int { return cmp.Compare(a.String(), b.String()) }) {
		changes = append(changes, create(resource, "v1", &apiregistrationv1.APIService{
			ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group, Labels: map[string]string{"kube-aggregator.kubernetes.io/automanaged": "onstart"}},
			Spec: apiregistrationv1.APIServiceSpec{
				Group: gv.Group, Version: gv.Version,
				GroupPriorityMinimum: cmp.Or(groupPriority[gv.Group], otherGroupPriority), VersionPriority: cmp.Or(versionPriority[gv], otherVersionPriority),
			},
		}))
	}
	return changes
}
