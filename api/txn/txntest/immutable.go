package txntest

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	fields "k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
)

// immutable are the fields that the emulator refuses to change.
var immutable = map[schema.GroupResource]string{
	{Group: "batch", Resource: "jobs"}:        "spec.template",
	{Group: "apps", Resource: "deployments"}:  "spec.selector",
	{Resource: "persistentvolumeclaims"}:      "spec.accessModes",
	{Group: "apps", Resource: "statefulsets"}: "spec.serviceName",
}

// changesImmutable refuses an update that changes such a field.
func changesImmutable(ref txn.Ref, kind schema.GroupKind, before, after txn.Object) error {
	path, ok := immutable[ref.Resource]
	if !ok || equality.Semantic.DeepEqual(at(before, path), at(after, path)) {
		return nil
	}
	return apierrors.NewInvalid(kind, ref.Name, fields.ErrorList{fields.Invalid(fields.NewPath("spec", strings.Split(path, ".")[1:]...), "", "field is immutable")})
}

func at(o txn.Object, path string) any {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil
	}
	var value any = content
	for part := range strings.SplitSeq(path, ".") {
		m, _ := value.(map[string]any)
		value = m[part]
	}
	return value
}
