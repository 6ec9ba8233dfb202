package plan

import (
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
)

// change notes what going back would not undo of an object that is created or
// changed: claims do not shrink, objects stay in the form that they were
// stored in, and a Job has run.
func (i *impact) change(o txn.Outcome) {
	ref := o.Change.Ref.String()
	switch {
	case o.Change.Ref.Resource == jobs && o.Before == nil:
		if j, ok := o.After.(*batchv1.Job); !ok || j.Spec.Suspend == nil || !*j.Spec.Suspend {
			i.Irreversible = append(i.Irreversible, ref+": what it does")
		}
	case o.Change.Ref.Resource == claims && o.Before != nil:
		i.grow(ref, o)
	case o.Change.Ref.Resource == definitions && o.Before != nil:
		before, after := versionsOf(o.Before), versionsOf(o.After)
		if after.storage != before.storage && after.storage != "" {
			i.Irreversible = append(i.Irreversible, fmt.Sprintf("%s: objects are stored as %s from now on, and no longer as %s", ref, after.storage, before.storage))
		}
		var gone []string
		for _, v := range before.stored {
			if !slices.Contains(after.all, v) {
				gone = append(gone, v)
			}
		}
		if len(gone) > 0 {
			i.Irreversible = append(i.Irreversible, fmt.Sprintf("%s: objects that are stored as %s", ref, strings.Join(gone, ", ")))
		}
	}
}

func (i *impact) grow(ref string, o txn.Outcome) {
	before, ok := o.Before.(*corev1.PersistentVolumeClaim)
	after, ok2 := o.After.(*corev1.PersistentVolumeClaim)
	if !ok || !ok2 {
		return
	}
	from, to := before.Spec.Resources.Requests[corev1.ResourceStorage], after.Spec.Resources.Requests[corev1.ResourceStorage]
	if to.Cmp(from) > 0 {
		i.Irreversible = append(i.Irreversible, fmt.Sprintf("%s: its size of %s, as it grows to %s", ref, from.String(), to.String()))
	}
}

// versions are those of a definition.
type versions struct {
	storage     string
	all, stored []string
}

func versionsOf(o txn.Object) versions {
	body := map[string]any{}
	if u, ok := o.(*unstructured.Unstructured); ok {
		body = u.Object
	} else if converted, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o); err == nil {
		body = converted
	}
	var out versions
	list, _, _ := unstructured.NestedSlice(body, "spec", "versions")
	for _, v := range list {
		version, _ := v.(map[string]any)
		name, _ := version["name"].(string)
		out.all = append(out.all, name)
		if version["storage"] == true {
			out.storage = name
		}
	}
	out.stored, _, _ = unstructured.NestedStringSlice(body, "status", "storedVersions")
	if len(out.stored) == 0 && out.storage != "" {
		out.stored = []string{out.storage}
	}
	return out
}
