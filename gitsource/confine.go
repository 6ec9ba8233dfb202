package gitsource

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// rendered renders a commit. Of an environment's it gives what has a place in
// there, and what is left out.
func (s *source) rendered(ctx context.Context, r *render.Renderer, id repo.ID) (set *render.Set, leftOut, problems []v1alpha1.Problem, err error) {
	set, problems, err = r.Render(ctx, id)
	if err != nil || len(problems) > 0 || s.object.Spec.Environment == nil {
		return set, nil, problems, err
	}
	set, leftOut, err = s.confine(set)
	return set, leftOut, nil, err
}

// confine brings the objects of an environment's commit into its namespace, and
// leaves out those that are not meant for it.
func (s *source) confine(set *render.Set) (*render.Set, []v1alpha1.Problem, error) {
	spec := &s.object.Spec
	out := *set
	out.Objects, out.Sealed, out.Unsure = make([]*render.Object, 0, len(set.Objects)), nil, false
	var left []v1alpha1.Problem
	for _, file := range slices.Compact(slices.Sorted(slices.Values(set.Sealed))) {
		left = append(left, v1alpha1.Problem{File: file, Message: "is encrypted, and an environment has no keys"})
	}
	for _, o := range set.Objects {
		gvk := o.Body.GroupVersionKind()
		leave := func(format string, args ...any) {
			object := gvk.Kind + " " + o.Body.GetName()
			if ns := o.Body.GetNamespace(); ns != "" {
				object = gvk.Kind + " " + ns + "/" + o.Body.GetName()
			}
			left = append(left, v1alpha1.Problem{File: o.File, Line: o.Line, Object: object, Message: fmt.Sprintf(format, args...)})
		}
		m, err := s.engine.cfg.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		var unknown *meta.NoKindMatchError
		switch ns := o.Body.GetNamespace(); {
		case errors.As(err, &unknown):
			leave("the cluster has no kind %s in %s", gvk.Kind, gvk.GroupVersion())
		case err != nil:
			return nil, nil, fmt.Errorf("look for the kind %s: %w", gvk.Kind, err)
		case m.Scope.Name() != meta.RESTScopeNameNamespace:
			leave("is outside of namespaces")
		case ns == "" || ns == spec.TargetNamespace:
			out.Objects = append(out.Objects, o)
		case slices.Contains(spec.Environment.Namespaces, ns):
			out.Objects = append(out.Objects, s.relocated(o))
		default:
			leave("is in the namespace %s", ns)
		}
	}
	if more := len(left) - maxProblems; more > 0 {
		left = append(left[:maxProblems-1], v1alpha1.Problem{Message: fmt.Sprintf("and %d more", more+1)})
	}
	return &out, left, nil
}

// relocated is an object in the environment's namespace, with its subjects if it
// binds any of the same namespace.
func (s *source) relocated(o *render.Object) *render.Object {
	from, to := o.Body.GetNamespace(), s.object.Spec.TargetNamespace
	out := *o
	out.Body = o.Body.DeepCopy()
	out.Body.SetNamespace(to)
	if subjects, ok, err := unstructured.NestedSlice(out.Body.Object, "subjects"); ok && err == nil && o.Body.GetKind() == "RoleBinding" {
		for _, one := range subjects {
			if subject, ok := one.(map[string]any); ok && subject["namespace"] == from {
				subject["namespace"] = to
			}
		}
		if unstructured.SetNestedSlice(out.Body.Object, subjects, "subjects") != nil {
			return o // it is no list: the API server says so
		}
	}
	mac := hmac.New(sha256.New, s.engine.cfg.Key)
	mac.Write([]byte(o.Digest + "\nin " + to))
	out.Digest = hex.EncodeToString(mac.Sum(nil)[:16])
	return &out
}
