package blame

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/gitsource/drift"
)

// Written is the part of a live object that the managers which keep wants have
// written: without a status, what the API server keeps its books in and what it
// has by default.
func Written(live *unstructured.Unstructured, keep func(manager string) bool) (*unstructured.Unstructured, error) {
	entries := slices.DeleteFunc(slices.Clone(live.GetManagedFields()), func(e metav1.ManagedFieldsEntry) bool {
		return e.Subresource != "" || !keep(e.Manager)
	})
	tree, err := ownership(entries)
	if err != nil {
		return nil, fmt.Errorf("read managed fields of %s: %w", live.GetName(), err)
	}
	body, _ := tree.part(live.DeepCopy().Object).(map[string]any)
	if body == nil {
		body = map[string]any{}
	}
	out := &unstructured.Unstructured{Object: body}
	delete(body, "status")
	out.SetAPIVersion(live.GetAPIVersion())
	out.SetKind(live.GetKind())
	metadata, _ := body["metadata"].(map[string]any)
	clean := map[string]any{}
	for _, field := range []string{"labels", "annotations"} {
		if values, _ := metadata[field].(map[string]any); len(values) > 0 {
			delete(values, "kubectl.kubernetes.io/last-applied-configuration")
			maps.DeleteFunc(values, func(name string, _ any) bool { return strings.HasPrefix(name, "deployment.kubernetes.io/") })
			if len(values) > 0 {
				clean[field] = values
			}
		}
	}
	body["metadata"] = clean
	out.SetName(live.GetName())
	out.SetNamespace(live.GetNamespace())
	return out, nil
}

// part is what somebody has written of a value.
func (n *node) part(v any) any {
	if len(n.below) == 0 {
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, below := range n.below {
			name, ok := strings.CutPrefix(key, "f:")
			if inner, there := v[name]; ok && there {
				out[name] = below.part(inner)
			}
		}
		return out
	case []any:
		out := []any{}
		for _, item := range v { // in the list's own order
			for key, below := range n.below {
				found, _ := drift.Step(key, []any{item})
				if found == nil {
					continue
				}
				out = append(out, withKeys(below.part(item), key, item))
				break
			}
		}
		return out
	}
	return v
}

// withKeys adds what tells an item from the others, which may be there by
// default.
func withKeys(part any, key string, item any) any {
	m, ok := part.(map[string]any)
	whole, _ := item.(map[string]any)
	rest, isKeys := strings.CutPrefix(key, "k:")
	var keys map[string]any
	if !ok || !isKeys || json.Unmarshal([]byte(rest), &keys) != nil {
		return part
	}
	for k := range keys {
		m[k] = whole[k]
	}
	return m
}
