package render

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestStorable(t *testing.T) {
	t.Parallel()
	secret := func(fields map[string]any) map[string]any {
		o := map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "s"}}
		for k, v := range fields {
			o[k] = v
		}
		return o
	}
	for name, c := range map[string]struct{ in, want map[string]any }{
		"plain text wins": {secret(map[string]any{"stringData": map[string]any{"a": "x", "b": "y"}, "data": map[string]any{"a": "b2xk", "c": "eg=="}}),
			secret(map[string]any{"data": map[string]any{"a": "eA==", "b": "eQ==", "c": "eg=="}})},
		"only plain text": {secret(map[string]any{"stringData": map[string]any{"a": "x"}}), secret(map[string]any{"data": map[string]any{"a": "eA=="}})},
		"only data":       {secret(map[string]any{"data": map[string]any{"a": "eA=="}}), secret(map[string]any{"data": map[string]any{"a": "eA=="}})},
		"no string":       {secret(map[string]any{"stringData": map[string]any{"a": 1}}), secret(map[string]any{"stringData": map[string]any{"a": 1}})},
		"another kind":    {map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "stringData": map[string]any{"a": "x"}}, map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "stringData": map[string]any{"a": "x"}}},
	} {
		if diff := cmp.Diff(c.want, storable(&unstructured.Unstructured{Object: c.in}).Object); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
