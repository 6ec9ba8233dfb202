package custom

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/jsonpath"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// ageColumn is what definitions without columns show.
var ageColumn = apiextensionsv1.CustomResourceColumnDefinition{
	Name: "Age", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"], JSONPath: ".metadata.creationTimestamp",
}

// lookup finds the value of a simple JSON path. A path is compiled anew for
// every use: compiled ones hold state and rows are shared.
func lookup(path string, object map[string]any) (reflect.Value, *jsonpath.JSONPath) {
	p := jsonpath.New("").AllowMissingKeys(true)
	if p.Parse("{"+path+"}") != nil {
		return reflect.Value{}, nil // validated when the definition was written
	}
	results, err := p.FindResults(object)
	if err != nil || len(results) == 0 || len(results[0]) == 0 {
		return reflect.Value{}, nil
	}
	return results[0][0], p
}

// columns are the name and what the definition asks for.
func columns(list []apiextensionsv1.CustomResourceColumnDefinition) ([]metav1.TableColumnDefinition, func(txn.Object, time.Time) []any) {
	if len(list) == 0 {
		list = []apiextensionsv1.CustomResourceColumnDefinition{ageColumn}
	}
	out := []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}}
	for _, c := range list {
		description := c.Description
		if description == "" {
			description = "Custom resource definition column (in JSONPath format): " + c.JSONPath
		}
		out = append(out, metav1.TableColumnDefinition{Name: c.Name, Type: c.Type, Format: c.Format, Description: description, Priority: c.Priority})
	}
	return out, func(o txn.Object, now time.Time) []any {
		cells := []any{o.GetName()}
		for _, c := range list {
			cells = append(cells, cell(c, content(o), now))
		}
		return cells
	}
}

// cell is a value in the form of its column's type; nil for one that is
// missing or of another type.
func cell(c apiextensionsv1.CustomResourceColumnDefinition, object map[string]any, now time.Time) any {
	found, path := lookup(c.JSONPath, object)
	if path == nil {
		return nil
	}
	value := found.Interface()
	switch c.Type {
	case "string":
		var b bytes.Buffer
		if path.PrintResults(&b, []reflect.Value{reflect.ValueOf(value)}) != nil {
			return nil
		}
		return b.String()
	case "integer":
		switch n := value.(type) {
		case int64:
			return n
		case float64:
			return int64(n)
		}
	case "number":
		switch n := value.(type) {
		case int64:
			return float64(n)
		case float64:
			return n
		}
	case "boolean":
		if b, ok := value.(bool); ok {
			return b
		}
	case "date":
		if text, ok := value.(string); ok {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return "<invalid>"
			}
			return kind.Age(metav1.NewTime(at), now)
		}
	}
	return nil
}

// fields are the definition's selectable fields.
func fields(list []apiextensionsv1.SelectableField) map[string]func(txn.Object) string {
	if len(list) == 0 {
		return nil
	}
	out := map[string]func(txn.Object) string{}
	for _, f := range list {
		find := finder(f.JSONPath)
		out[f.JSONPath[1:]] = func(o txn.Object) string {
			switch value := find(content(o)).(type) {
			case nil:
				return ""
			case string:
				return value
			default:
				return fmt.Sprint(value)
			}
		}
	}
	return out
}

// indexes make the store keep the fields, so that who selects by one is led to
// what matches.
func indexes(fields map[string]func(txn.Object) string) map[string]func(txn.Object) []string {
	if len(fields) == 0 {
		return nil
	}
	out := map[string]func(txn.Object) []string{}
	for name, value := range fields {
		out[name] = func(o txn.Object) []string { return []string{value(o)} }
	}
	return out
}

// plain are paths of plain field names, as nearly all are.
var plain = regexp.MustCompile(`^(\.[A-Za-z_][A-Za-z0-9_]*)+$`)

// finder finds the value at a simple JSON path, nil where there is none. Every
// event passes it, so that names are followed without the evaluator.
func finder(path string) func(object map[string]any) any {
	if !plain.MatchString(path) {
		return func(object map[string]any) any {
			if found, p := lookup(path, object); p != nil {
				return found.Interface()
			}
			return nil
		}
	}
	steps := strings.Split(path[1:], ".")
	return func(object map[string]any) any {
		var value any = object
		for _, step := range steps {
			fields, ok := value.(map[string]any)
			if !ok {
				return nil
			}
			value = fields[step]
		}
		return value
	}
}
