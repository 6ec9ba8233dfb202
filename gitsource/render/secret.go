package render

import (
	"encoding/base64"
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// storable writes a Secret's stringData into its data, as the API server
// stores it: who applies stringData owns no field that exists, and a change of
// the value would belong to nobody. What is no string is left for the API
// server to refuse.
func storable(o *unstructured.Unstructured) *unstructured.Unstructured {
	if o.GetAPIVersion() != "v1" || o.GetKind() != "Secret" {
		return o
	}
	plain, ok := o.Object["stringData"].(map[string]any)
	if !ok {
		return o
	}
	data, ok := o.Object["data"].(map[string]any)
	if !ok && o.Object["data"] != nil {
		return o
	}
	merged := maps.Clone(data)
	if merged == nil {
		merged = map[string]any{}
	}
	for key, value := range plain {
		text, ok := value.(string)
		if !ok {
			return o
		}
		merged[key] = base64.StdEncoding.EncodeToString([]byte(text))
	}
	changed := maps.Clone(o.Object)
	delete(changed, "stringData")
	changed["data"] = merged
	return &unstructured.Unstructured{Object: changed}
}
