package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/kind"
)

var allVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// catalog is what the documents describe.
type catalog struct {
	version   string
	resources map[schema.GroupVersion][]*resource
	gvks      map[string][]gvkJSON // by schema name
	custom    schemas              // of kinds without a Go type
}

// newCatalog reads the table. The scheme has the types of subresources'
// parameters and of extra resources.
func newCatalog(kinds []*kind.Kind, extra map[schema.GroupVersion][]metav1.APIResource, scheme *runtime.Scheme, version string) (*catalog, error) {
	c := &catalog{version: version, resources: map[schema.GroupVersion][]*resource{}, gvks: map[string][]gvkJSON{}, custom: schemas{}}
	for _, k := range kinds {
		for _, row := range k.Rows() {
			if err := c.addKind(row, scheme); err != nil {
				return nil, err
			}
		}
	}
	for gv, resources := range extra {
		for _, e := range resources {
			gvk := gv.WithKind(e.Kind)
			o, err := scheme.New(gvk)
			if err != nil {
				return nil, fmt.Errorf("describe %s: %w", gvk, err)
			}
			r := &resource{gvk: gvk, plural: e.Name, kind: e.Kind, namespaced: e.Namespaced, verbs: e.Verbs, model: c.model(gvk, o)}
			c.resources[gv] = append(c.resources[gv], r)
		}
	}
	core := schema.GroupVersion{Version: "v1"}
	c.model(core.WithKind("Status"), &metav1.Status{})
	c.model(core.WithKind("DeleteOptions"), &metav1.DeleteOptions{})
	return c, nil
}

func (c *catalog) addKind(k *kind.Kind, scheme *runtime.Scheme) error {
	gv := k.GVK.GroupVersion()
	verbs := k.Verbs
	if verbs == nil {
		verbs = allVerbs
	}
	c.resources[gv] = append(c.resources[gv], &resource{gvk: k.GVK, plural: k.Plural, kind: k.GVK.Kind, namespaced: k.Namespaced, verbs: verbs,
		model: c.model(k.GVK, k.New()), list: c.model(gv.WithKind(k.GVK.Kind+"List"), k.NewList())})
	for _, name := range sorted(k.Subresources) {
		sub := k.Subresources[name]
		r := &resource{gvk: k.GVK, plural: k.Plural, sub: name, kind: k.GVK.Kind, namespaced: k.Namespaced,
			verbs: sub.Verbs, model: modelName(k.New()), connect: sub.Connect && sub.GVK.Kind == ""}
		if sub.GVK.Kind != "" && sub.GVK != k.GVK {
			o, err := scheme.New(sub.GVK)
			if err != nil {
				return fmt.Errorf("describe %s/%s: %w", k.Plural, name, err)
			}
			r.gvk, r.model = sub.GVK, c.model(sub.GVK, o)
		}
		c.resources[gv] = append(c.resources[gv], r)
	}
	return nil
}

// model is the name of an object's schema, and notes which kind it is of.
func (c *catalog) model(gvk schema.GroupVersionKind, o any) string {
	name, wire := modelName(o), wireGVK(gvk)
	if !slices.Contains(c.gvks[name], wire) {
		c.gvks[name] = append(c.gvks[name], wire)
	}
	return name
}

// models are the schemas that a version's operations name.
func (c *catalog) models(gv schema.GroupVersion) []string {
	names := []string{"io.k8s.apimachinery.pkg.apis.meta.v1.Status", "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
		"io.k8s.apimachinery.pkg.apis.meta.v1.Patch", "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent"}
	for _, r := range c.resources[gv] {
		names = append(names, r.model)
		if r.list != "" {
			names = append(names, r.list)
		}
	}
	return names
}

// paths are a version's paths.
func (c *catalog) paths(gv schema.GroupVersion) object {
	paths := object{}
	for _, r := range c.resources[gv] {
		r.addPaths(gv, paths)
	}
	return paths
}

// components takes the schemas that versions need, with their kinds.
func (c *catalog) components(all schemas, versions ...schema.GroupVersion) (schemas, error) {
	var names []string
	for _, gv := range versions {
		names = append(names, c.models(gv)...)
	}
	for name, raw := range c.custom {
		all[name] = raw
	}
	taken := all.reach(names)
	for name, raw := range taken {
		gvks := c.gvks[name]
		if len(gvks) == 0 {
			continue
		}
		with, err := withGVKs(raw, gvks)
		if err != nil {
			return nil, err
		}
		taken[name] = with
	}
	return taken, nil
}

// v3 is one version's OpenAPI v3 document.
func (c *catalog) v3(gv schema.GroupVersion) ([]byte, error) {
	all, err := loadSchemas()
	if err != nil {
		return nil, err
	}
	components, err := c.components(all, gv)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(object{
		"openapi": "3.0.0", "info": object{"title": "Kubernetes", "version": c.version}, "paths": c.paths(gv),
		"components": object{"schemas": components, "securitySchemes": object{
			"BearerToken": object{"type": "apiKey", "in": "header", "name": "authorization", "description": "Bearer Token authentication"}}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode OpenAPI v3 of %s: %w", gv, err)
	}
	return b, nil
}

// versions are what is served, in order.
func (c *catalog) versions() []schema.GroupVersion {
	return slices.SortedFunc(maps.Keys(c.resources), func(a, b schema.GroupVersion) int {
		switch pa, pb := prefix(a), prefix(b); {
		case pa < pb:
			return -1
		case pa > pb:
			return 1
		}
		return 0
	})
}
