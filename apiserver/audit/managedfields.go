package audit

import (
	"bytes"
	"encoding/json"

	"k8s.io/apimachinery/pkg/runtime"
)

// withoutManagedFields takes the managed fields out of an object, out of the
// members of a list and out of the objects of a table.
func withoutManagedFields(o *runtime.Unknown) (*runtime.Unknown, error) {
	if o == nil || !bytes.Contains(o.Raw, []byte(`"managedFields"`)) {
		return o, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(o.Raw))
	decoder.UseNumber()
	var content any
	if err := decoder.Decode(&content); err != nil {
		return nil, err
	}
	whole, ok := content.(map[string]any)
	if !ok {
		return o, nil // a JSON patch
	}
	forget(whole)
	for _, list := range []string{"items", "rows"} {
		members, _ := whole[list].([]any)
		for _, member := range members {
			one, _ := member.(map[string]any)
			if inner, ok := one["object"].(map[string]any); ok && list == "rows" {
				one = inner
			}
			forget(one)
		}
	}
	b, err := json.Marshal(whole)
	return unknown(b), err
}

func forget(o map[string]any) {
	if metadata, ok := o["metadata"].(map[string]any); ok {
		delete(metadata, "managedFields")
	}
}
