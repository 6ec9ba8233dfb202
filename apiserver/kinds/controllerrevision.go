package kinds

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func controllerRevisionKind() *kind.Kind {
	return &kind.Kind{
		GVK:           appsv1.SchemeGroupVersion.WithKind("ControllerRevision"),
		Plural:        "controllerrevisions",
		Singular:      "controllerrevision",
		Namespaced:    true,
		StoragePrefix: "controllerrevisions",
		New:           func() txn.Object { return &appsv1.ControllerRevision{} },
		NewList:       func() runtime.Object { return &appsv1.ControllerRevisionList{} },
		Indexes:       owned(nil),
		Validate:      validate(checkControllerRevision),
		Columns: []column{
			nameColumn(), str("Controller", "Controller of the object"),
			integer("Revision", appsv1.ControllerRevision{}.SwaggerDoc()["revision"]), ageColumn(),
		},
		Row: row(func(o *appsv1.ControllerRevision, now time.Time) []any {
			return []any{o.Name, controllerText(o), o.Revision, age(o, now)}
		}),
	}
}

// controllerText names an object's controller as "deployment.apps/web".
func controllerText(o metav1.Object) string {
	owner := metav1.GetControllerOfNoCopy(o)
	if owner == nil {
		return none
	}
	resource := strings.ToLower(owner.Kind)
	if group, _, ok := strings.Cut(owner.APIVersion, "/"); ok {
		resource += "." + group
	}
	return resource + "/" + owner.Name
}
