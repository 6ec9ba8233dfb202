package drift

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
)

// TakeLive gives a desired object the live values of the fields that are left to
// others: keep is asked for each field that the desired object has, with its
// path. Items of lists are found by their name, or by their place when they
// have none. The desired object is changed.
func TakeLive(desired map[string]any, live txn.Object, keep func(path string) bool) error {
	now, err := content(live)
	if err != nil {
		return err
	}
	keepMap(desired, now, "", keep)
	return nil
}

func keepMap(desired, live map[string]any, at string, keep func(string) bool) {
	for key := range desired {
		if at == "" && (key == "apiVersion" || key == "kind") {
			continue
		}
		name := "." + key
		if strings.ContainsAny(key, "./") {
			name = "[" + strconv.Quote(key) + "]"
		}
		path := strings.TrimPrefix(at+name, ".")
		value, there := live[key]
		switch {
		case path == "metadata.name" || path == "metadata.namespace":
		case path == "metadata":
			keepBelow(desired[key], value, path, keep) // the rest of it is the server's
		case keep(path) && there:
			desired[key] = runtime.DeepCopyJSONValue(value) // it may be shared
		case keep(path):
			delete(desired, key)
		default:
			keepBelow(desired[key], value, path, keep)
		}
	}
}

func keepBelow(desired, live any, path string, keep func(string) bool) {
	switch d := desired.(type) {
	case map[string]any:
		if l, ok := live.(map[string]any); ok {
			keepMap(d, l, path, keep)
		}
	case []any:
		l, _ := live.([]any)
		for i, item := range d {
			if m, ok := item.(map[string]any); ok {
				keepItem(m, l, i, path, keep)
			}
		}
	}
}

func keepItem(item map[string]any, live []any, i int, path string, keep func(string) bool) {
	name, named := item["name"].(string)
	at := i
	if named {
		at = slices.IndexFunc(live, func(other any) bool {
			m, ok := other.(map[string]any)
			return ok && m["name"] == name
		})
		path += fmt.Sprintf("[name=%q]", name)
	} else {
		path += fmt.Sprintf("[%d]", i)
	}
	if at < 0 || at >= len(live) {
		return
	}
	if m, ok := live[at].(map[string]any); ok {
		keepMap(item, m, path, keep)
	}
}
