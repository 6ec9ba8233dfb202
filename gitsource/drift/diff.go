package drift

import (
	"reflect"
	"slices"
	"strings"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
)

// maxDiff is how many fields of one object a diff shows.
const maxDiff = 50

// Diff lists what differs between two states of an object, without what the
// server keeps its books in; values of Secrets are masked.
func Diff(e *plan.Entry, before, after txn.Object) []v1alpha1.FieldChange {
	b, errB := content(before)
	a, errA := content(after)
	if errB != nil || errA != nil {
		return nil
	}
	var c comparison
	c.diff(b, a, "")
	out := slices.DeleteFunc(c.changes, func(f v1alpha1.FieldChange) bool {
		return strings.HasPrefix(f.Path, "metadata.managedFields") || f.Path == "metadata.generation" || f.Path == "metadata.resourceVersion"
	})
	if len(out) > maxDiff {
		out = out[:maxDiff]
	}
	if e.Kind == "Secret" && e.Group == "" {
		mask(out)
	}
	return out
}

func (c *comparison) diff(before, after any, path string) {
	if reflect.DeepEqual(before, after) {
		return
	}
	switch b := before.(type) {
	case map[string]any:
		if a, ok := after.(map[string]any); ok {
			keys := map[string]bool{}
			for k := range b {
				keys[k] = true
			}
			for k := range a {
				keys[k] = true
			}
			for _, k := range sortedKeys(keys) {
				_, name := step("f:"+k, nil)
				c.diff(b[k], a[k], path+name)
			}
			return
		}
	case []any:
		if a, ok := after.([]any); ok && named(b) && named(a) {
			c.byName(b, a, path)
			return
		}
	}
	c.add(path, before, after)
}

// named tells whether the items of a list have names to tell them apart.
func named(list []any) bool {
	for _, item := range list {
		m, ok := item.(map[string]any)
		if _, has := m["name"].(string); !ok || !has {
			return false
		}
	}
	return true
}

func (c *comparison) byName(before, after []any, path string) {
	items := func(list []any) map[string]any {
		out := map[string]any{}
		for _, item := range list {
			out[item.(map[string]any)["name"].(string)] = item
		}
		return out
	}
	b, a := items(before), items(after)
	keys := map[string]bool{}
	for k := range b {
		keys[k] = true
	}
	for k := range a {
		keys[k] = true
	}
	for _, k := range sortedKeys(keys) {
		c.diff(b[k], a[k], path+"[name="+show(k)+"]")
	}
}

func sortedKeys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
