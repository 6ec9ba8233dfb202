package openapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/kind"
)

// customName is the name of a custom kind's schema: com.example.v1.Widget.
func customName(gvk schema.GroupVersionKind) string {
	parts := strings.Split(gvk.Group, ".")
	slices.Reverse(parts)
	return strings.Join(append(parts, gvk.Version, gvk.Kind), ".")
}

// addCustom adds a kind whose schema is its row's.
func (c *catalog) addCustom(k *kind.Kind, scheme *runtime.Scheme) error {
	gv := k.GVK.GroupVersion()
	described, err := k.Described()
	if err != nil {
		return err
	}
	name, list := customName(k.GVK), customName(k.ListGVK())
	c.custom[name] = described
	if c.custom[list], err = json.Marshal(customList(name, k)); err != nil {
		return fmt.Errorf("encode the list of %s: %w", k.GVK, err)
	}
	c.resources[gv] = append(c.resources[gv], &resource{gvk: k.GVK, plural: k.Plural, kind: k.GVK.Kind, namespaced: k.Namespaced, verbs: allVerbs,
		model: name, list: list, custom: true})
	for _, sub := range sorted(k.Subresources) {
		s := k.Subresources[sub]
		r := &resource{gvk: k.GVK, plural: k.Plural, sub: sub, kind: k.GVK.Kind, namespaced: k.Namespaced, verbs: s.Verbs, model: name, custom: true}
		if s.GVK.Kind != "" {
			o, err := scheme.New(s.GVK)
			if err != nil {
				return fmt.Errorf("describe %s/%s: %w", k.Plural, sub, err)
			}
			r.gvk, r.model = s.GVK, c.model(s.GVK, o)
		}
		c.resources[gv] = append(c.resources[gv], r)
	}
	return nil
}

func customList(item string, k *kind.Kind) object {
	return object{
		"type": "object", "description": k.ListGVK().Kind + " is a list of " + k.GVK.Kind, "required": []string{"items"},
		"properties": object{
			"apiVersion": object{"type": "string"}, "kind": object{"type": "string"},
			"metadata": object{"$ref": refPrefix + "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"},
			"items":    object{"type": "array", "items": object{"$ref": refPrefix + item}, "description": "List of " + k.Plural + "."},
		},
		gvkExtension: []gvkJSON{wireGVK(k.ListGVK())},
	}
}
