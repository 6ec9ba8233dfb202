package drift

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// maxValue is how much of a value a record shows.
const maxValue = 512

// Changed lists the fields that a manager owned before a write and that differ
// after it.
func Changed(manager string, before, after txn.Object) ([]v1alpha1.FieldChange, error) {
	owned, err := owned(manager, before)
	if err != nil || owned == nil {
		return nil, err
	}
	b, err := content(before)
	if err != nil {
		return nil, err
	}
	a, err := content(after)
	if err != nil {
		return nil, err
	}
	var c comparison
	c.walk(owned, b, a, "")
	return c.changes, nil
}

// Extract gives the part of an object that a manager owns: what it applied
// last, as far as it is still there.
func Extract(manager string, o txn.Object) (map[string]any, error) {
	owned, err := owned(manager, o)
	if err != nil || owned == nil {
		return nil, err
	}
	whole, err := content(o)
	if err != nil {
		return nil, err
	}
	part, _ := extract(owned, whole).(map[string]any)
	return part, nil
}

func content(o txn.Object) (map[string]any, error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return u.Object, nil
	}
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("read fields of %s: %w", o.GetName(), err)
	}
	return m, nil
}

// owned is the manager's set of fields in the form of the API reference's
// FieldsV1; nil when it owns nothing.
func owned(manager string, o txn.Object) (map[string]any, error) {
	for _, entry := range o.GetManagedFields() {
		if entry.Manager != manager || entry.Operation != metav1.ManagedFieldsOperationApply || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		var set map[string]any
		encoded, err := json.Marshal(entry.FieldsV1)
		if err == nil {
			err = json.Unmarshal(encoded, &set)
		}
		if err != nil {
			return nil, fmt.Errorf("read managed fields of %s: %w", o.GetName(), err)
		}
		return set, nil
	}
	return nil, nil
}

// comparison walks a set of owned fields along two objects.
type comparison struct{ changes []v1alpha1.FieldChange }

func (c *comparison) walk(set map[string]any, before, after any, path string) {
	if len(set) == 0 {
		if !reflect.DeepEqual(before, after) {
			c.add(path, before, after)
		}
		return
	}
	if after == nil && before != nil {
		c.add(path, before, nil)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if key == "." {
			continue
		}
		below, _ := set[key].(map[string]any)
		b, name := step(key, before)
		a, _ := step(key, after)
		if strings.HasPrefix(key, "v:") || len(below) == 1 && below["."] != nil {
			if (b == nil) != (a == nil) {
				c.add(path+name, b, a)
			}
			continue
		}
		c.walk(below, b, a, path+name)
	}
}

func (c *comparison) add(path string, before, after any) {
	c.changes = append(c.changes, v1alpha1.FieldChange{Path: strings.TrimPrefix(path, "."), Before: show(before), After: show(after)})
}

func show(v any) string {
	if v == nil {
		return ""
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	if len(encoded) > maxValue {
		return strings.ToValidUTF8(string(encoded[:maxValue]), "") + "…"
	}
	return string(encoded)
}

// Step takes one path element of FieldsV1, such as "f:spec", and gives the value
// below v and the element as people write it.
func Step(element string, v any) (value any, name string) { return step(element, v) }

// step takes one path element of FieldsV1 and gives the value there and the
// element as people write it.
func step(key string, v any) (any, string) {
	kind, rest, _ := strings.Cut(key, ":")
	switch kind {
	case "f":
		name := "." + rest
		if strings.ContainsAny(rest, "./") {
			name = "[" + strconv.Quote(rest) + "]"
		}
		m, _ := v.(map[string]any)
		return m[rest], name
	case "k":
		var keys map[string]any
		if json.Unmarshal([]byte(rest), &keys) != nil {
			return nil, "[?]"
		}
		list, _ := v.([]any)
		return find(list, func(item any) bool {
			m, ok := item.(map[string]any)
			return ok && hasKeys(m, keys)
		}), "[" + keyNames(keys) + "]"
	case "v":
		var want any
		if json.Unmarshal([]byte(rest), &want) != nil {
			return nil, "[?]"
		}
		list, _ := v.([]any)
		return find(list, func(item any) bool { return same(item, want) }), "[=" + rest + "]"
	case "i":
		list, _ := v.([]any)
		i, err := strconv.Atoi(rest)
		if err != nil || i < 0 || i >= len(list) {
			return nil, "[" + rest + "]"
		}
		return list[i], "[" + rest + "]"
	}
	return nil, "?"
}

func find(list []any, is func(any) bool) any {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i]
	}
	return nil
}

func hasKeys(m, keys map[string]any) bool {
	for k, v := range keys {
		if !same(m[k], v) {
			return false
		}
	}
	return true
}

// same compares values of which one comes from JSON and has floats only.
func same(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

func keyNames(keys map[string]any) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		parts = append(parts, k+"="+show(keys[k]))
	}
	return strings.Join(parts, ",")
}

// extract copies what a set names.
func extract(set map[string]any, v any) any {
	if len(set) == 0 {
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, below := range set {
			value, _ := step(key, v)
			if name, ok := strings.CutPrefix(key, "f:"); ok && value != nil {
				inner, _ := below.(map[string]any)
				out[name] = extract(inner, value)
			}
		}
		return out
	case []any:
		out := []any{}
		for _, key := range slices.Sorted(maps.Keys(set)) {
			value, _ := step(key, v)
			if value == nil {
				continue
			}
			inner, _ := set[key].(map[string]any)
			item := extract(inner, value)
			if keys, ok := strings.CutPrefix(key, "k:"); ok {
				item = withKeys(item, keys)
			}
			out = append(out, item)
		}
		return out
	}
	return v
}

// withKeys adds the keys of a list item, which may be defaulted and owned by
// nobody.
func withKeys(item any, keys string) any {
	m, ok := item.(map[string]any)
	var want map[string]any
	if !ok || json.Unmarshal([]byte(keys), &want) != nil {
		return item
	}
	for k, v := range want {
		if f, isFloat := v.(float64); isFloat && f == float64(int64(f)) {
			v = int64(f)
		}
		if _, there := m[k]; !there {
			m[k] = v
		}
	}
	return m
}
