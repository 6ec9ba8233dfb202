package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of the package.
const GroupName = "gitops.headway.sh"

// SchemeGroupVersion is the group and version of the package.
var SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

// Resource qualifies a resource of the package.
func Resource(resource string) schema.GroupResource {
	return SchemeGroupVersion.WithResource(resource).GroupResource()
}

// AddToScheme makes the kinds of the package, and the option types of its
// group and version, known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(SchemeGroupVersion,
		&GitSource{}, &GitSourceList{},
		&Release{}, &ReleaseList{},
		&Plan{}, &PlanList{},
	)
	metav1.AddToGroupVersion(s, SchemeGroupVersion)
	return nil
}
