package gitsource

import (
	"encoding/json"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// renderer makes a renderer of a repository, as the source's spec has it. It
// remembers what it rendered last. Charts look objects up in the View.
func (s *source) renderer(r *repo.Repository, view func() (txn.View, error)) *render.Renderer {
	cfg := RenderConfig(&s.object.Spec)
	cfg.Repo, cfg.Key = r, s.engine.cfg.Key
	cfg.Charts.Cluster = func() (*render.Cluster, error) {
		v, err := view()
		if err != nil {
			return nil, fmt.Errorf("view: %w", err)
		}
		c := &render.Cluster{Lookup: lookup{v, s.engine.cfg.Mapper}.find}
		if s.engine.cfg.Capabilities != nil {
			c.KubeVersion, c.APIVersions = s.engine.cfg.Capabilities()
		}
		return c, nil
	}
	return render.New(cfg)
}

// RenderConfig is how a spec, with its defaults, wants a repository rendered.
func RenderConfig(spec *v1alpha1.GitSourceSpec) render.Config {
	cfg := render.Config{Paths: spec.Paths, Ignore: spec.Ignore, Mode: spec.Render, Charts: render.Charts{Namespace: spec.TargetNamespace}}
	if h := spec.Helm; h != nil {
		cfg.Charts.Release, cfg.Charts.ValuesFiles, cfg.Charts.Mirror = h.ReleaseName, h.ValuesFiles, h.Mirror
		if h.Values != nil && json.Unmarshal(h.Values.Raw, &cfg.Charts.Values) != nil {
			cfg.Charts.Values = nil // validation has seen to it that it is a mapping
		}
	}
	return cfg
}

// needsReopen tells whether a changed spec wants another repository or other
// rendering.
func needsReopen(old, new *v1alpha1.GitSourceSpec) bool {
	part := func(s *v1alpha1.GitSourceSpec) any {
		return []any{s.URL, s.Interval, s.SecretRef, s.CABundle, s.Ref, RenderConfig(s)}
	}
	return !reflect.DeepEqual(part(old), part(new))
}

// lookup reads objects of one View for charts.
type lookup struct {
	view   txn.View
	mapper plan.Mapper
}

// find gives an object, or with an empty name the list of all objects of a
// kind in a namespace. What does not exist, kinds included, is an empty map.
func (l lookup) find(apiVersion, kind, namespace, name string) (map[string]any, error) {
	gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
	m, err := l.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return map[string]any{}, nil
	}
	resource := m.Resource.GroupResource()
	if name != "" {
		o, ok := l.view.Get(txn.Ref{Resource: resource, Namespace: namespace, Name: name})
		if !ok {
			return map[string]any{}, nil
		}
		return content(o, gvk)
	}
	items := []any{}
	for o := range l.view.Each(resource, namespace) {
		item, err := content(o, gvk)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return map[string]any{"apiVersion": apiVersion, "kind": kind + "List", "items": items}, nil
}

// content is a copy of an object in JSON's shape.
func content(o txn.Object, gvk schema.GroupVersionKind) (map[string]any, error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return runtime.DeepCopyJSON(u.Object), nil
	}
	out, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("look up %s %s: %w", gvk.Kind, o.GetName(), err)
	}
	out["apiVersion"], out["kind"] = gvk.GroupVersion().String(), gvk.Kind
	return out, nil
}
