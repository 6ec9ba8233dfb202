package custom

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/headway-sh/headway/api/txn"
)

// prepare keeps the status out of writes of the object itself where it has a
// subresource, and counts generations: every change but of metadata is one.
func (v *version) prepare(o, old txn.Object) {
	now, then := content(o), content(old)
	hasStatus := v.api.Subresources != nil && v.api.Subresources.Status != nil
	if then == nil {
		if hasStatus {
			delete(now, "status")
		}
		o.SetGeneration(1)
		return
	}
	if hasStatus {
		if status, ok := then["status"]; ok {
			now["status"] = status
		} else {
			delete(now, "status")
		}
	}
	o.SetGeneration(old.GetGeneration())
	if !equality.Semantic.DeepEqual(withoutMetadata(now), withoutMetadata(then)) {
		o.SetGeneration(old.GetGeneration() + 1)
	}
}

func withoutMetadata(from map[string]any) map[string]any {
	out := make(map[string]any, len(from))
	for key, value := range from {
		if key != "metadata" {
			out[key] = value
		}
	}
	return out
}

// prepareStatus takes everything but the status from what is stored.
func prepareStatus(o, old txn.Object) {
	u := o.(*unstructured.Unstructured)
	status, has := u.Object["status"]
	managed, resourceVersion := u.GetManagedFields(), u.GetResourceVersion()
	u.Object = old.(*unstructured.Unstructured).DeepCopy().Object
	u.SetManagedFields(managed)
	u.SetResourceVersion(resourceVersion)
	delete(u.Object, "status")
	if has {
		u.Object["status"] = status
	}
}

// known are the finalizers without a domain.
var known = []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents, "kubernetes"}

// warnings are about finalizers that others may take for theirs.
func warnings(o, old txn.Object) []string {
	var out []string
	for _, f := range o.GetFinalizers() {
		if old != nil && slices.Contains(old.GetFinalizers(), f) {
			continue
		}
		for _, problem := range validation.IsQualifiedName(f) {
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: %s", f, problem))
		}
		if strings.Contains(f, "/") || slices.Contains(known, f) {
			continue
		}
		advice := "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
		if strings.Contains(f, ".") {
			advice = "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
		}
		out = append(out, fmt.Sprintf("metadata.finalizers: %q: %s", f, advice))
	}
	return out
}
