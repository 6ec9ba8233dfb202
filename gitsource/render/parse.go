package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// The limits of one file.
const (
	maxNodes     = 500_000 // after aliases are written out
	maxNesting   = 100
	maxDocuments = 20_000
)

// parse reads all documents of a YAML or JSON file.
func parse(file string, content []byte) *result {
	documents, problem := decode(file, content)
	if problem != nil {
		return &result{problems: []v1alpha1.Problem{*problem}}
	}
	return objects(file, documents)
}

// decode gives the nodes of all documents that are not empty.
func decode(file string, content []byte) ([]*yaml.Node, *v1alpha1.Problem) {
	var out []*yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for n := 0; ; n++ {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			line, message := syntaxError(err)
			return nil, &v1alpha1.Problem{File: file, Line: int32(line), Message: message}
		}
		if n >= maxDocuments {
			return nil, &v1alpha1.Problem{File: file, Line: int32(document.Line), Message: fmt.Sprintf("more than %d documents in one file", maxDocuments)}
		}
		root := &document
		if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
			root = root.Content[0]
		}
		if root.Kind != yaml.ScalarNode || root.Tag != "!!null" {
			out = append(out, root)
		}
	}
}

// objects turns documents into objects.
func objects(file string, documents []*yaml.Node) *result {
	r := &result{}
	budget := maxNodes
	for _, root := range documents {
		c := converter{budget: &budget}
		value, err := c.value(root, 0)
		if err == nil {
			r.take(file, root, value)
			continue
		}
		var at *lineError
		errors.As(err, &at)
		r.problems = append(r.problems, v1alpha1.Problem{File: file, Line: int32(at.line), Message: at.message})
		if budget <= 0 {
			return r
		}
	}
	return r
}

var lineNumber = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func syntaxError(err error) (int, string) {
	m := lineNumber.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, err.Error()
	}
	line, convErr := strconv.Atoi(m[1])
	if convErr != nil {
		line = 1
	}
	return line, "not valid YAML: " + strings.TrimPrefix(err.Error(), m[0])
}

// take adds a document as an object, or as several when it is a list.
func (r *result) take(file string, node *yaml.Node, value any) {
	fail := func(object, format string, args ...any) {
		r.problems = append(r.problems, v1alpha1.Problem{File: file, Line: int32(node.Line), Object: object, Message: fmt.Sprintf(format, args...)})
	}
	body, ok := value.(map[string]any)
	if !ok {
		fail("", "is not an object: a document must be a mapping with apiVersion, kind and metadata")
		return
	}
	version, _ := body["apiVersion"].(string)
	kind, _ := body["kind"].(string)
	switch {
	case version == "" && kind == "":
		fail("", "has no apiVersion and kind: only Kubernetes objects may be in this path")
		return
	case version == "":
		fail(kind, "has no apiVersion")
		return
	case kind == "":
		fail(version, "has no kind")
		return
	}
	if items, ok := body["items"].([]any); ok && strings.HasSuffix(kind, "List") {
		nodes := child(node, "items")
		for i, item := range items {
			at := node
			if nodes != nil && i < len(nodes.Content) {
				at = nodes.Content[i]
			}
			r.take(file, at, item)
		}
		return
	}
	metadata, ok := body["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	if name == "" {
		name = generated(body, metadata)
	}
	if !ok || name == "" {
		if _, generated := metadata["generateName"]; generated {
			fail(kind, "has generateName, but an object in git needs a name of its own: set metadata.name")
		} else {
			fail(kind, "has no metadata.name")
		}
		return
	}
	// What only a server knows is not a wish.
	delete(body, "status")
	for _, field := range []string{"creationTimestamp", "managedFields", "resourceVersion", "uid", "generation", "selfLink"} {
		delete(metadata, field)
	}
	r.objects = append(r.objects, &Object{Body: &unstructured.Unstructured{Object: body}, File: file, Line: int32(node.Line), written: true})
}

// generated names a hook that wants a name made for it: by what it is, so that
// the same hook is found again. It gives nothing for other objects.
func generated(body, metadata map[string]any) string {
	prefix, _ := metadata["generateName"].(string)
	if prefix == "" || !hooked(&unstructured.Unstructured{Object: body}) {
		return ""
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return ""
	}
	name := fmt.Sprintf("%s%x", prefix, sha256.Sum256(encoded))[:len(prefix)+10]
	metadata["name"] = name
	delete(metadata, "generateName")
	return name
}

func child(node *yaml.Node, key string) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

type lineError struct {
	line    int
	message string
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.message) }

// converter turns nodes into what JSON would give: the budget bounds what
// aliases can blow up to.
type converter struct{ budget *int }

func (c *converter) value(n *yaml.Node, depth int) (any, error) {
	fail := func(format string, args ...any) (any, error) {
		return nil, &lineError{n.Line, fmt.Sprintf(format, args...)}
	}
	if *c.budget--; *c.budget < 0 {
		return fail("more than %d values in one file, with aliases written out", maxNodes)
	}
	if depth > maxNesting {
		return fail("nested more than %d deep", maxNesting)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return c.value(n.Alias, depth+1)
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			v, err := c.value(item, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yaml.MappingNode:
		return c.mapping(n, depth)
	case yaml.ScalarNode:
		return scalar(n)
	}
	return fail("not understood")
}

func (c *converter) mapping(n *yaml.Node, depth int) (any, error) {
	out := make(map[string]any, len(n.Content)/2)
	var merged []any
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		v, err := c.value(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		if key.Tag == "!!merge" {
			merged = append(merged, v)
			continue
		}
		if key.Kind != yaml.ScalarNode {
			return nil, &lineError{key.Line, "a key must be a word, not a list or mapping"}
		}
		if _, twice := out[key.Value]; twice {
			return nil, &lineError{key.Line, fmt.Sprintf("the key %q is there twice", key.Value)}
		}
		out[key.Value] = v
	}
	for _, m := range merged {
		if err := merge(out, m, n.Line); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// merge does what "<<" asks for: keys that are not there yet.
func merge(out map[string]any, from any, line int) error {
	switch from := from.(type) {
	case map[string]any:
		for k, v := range from {
			if _, ok := out[k]; !ok {
				out[k] = v
			}
		}
		return nil
	case []any:
		for _, one := range from {
			if err := merge(out, one, line); err != nil {
				return err
			}
		}
		return nil
	}
	return &lineError{line, "<< must be given a mapping"}
}

// scalar reads a scalar as Kubernetes' tools do: YAML 1.2, but a bare yes, no,
// on or off is a boolean as in 1.1, and dates stay text.
func scalar(n *yaml.Node) (any, error) {
	plain := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0
	switch n.Tag {
	case "!!null":
		return nil, nil
	case "!!str", "!!timestamp", "!!binary":
		if plain && n.Tag == "!!str" {
			switch n.Value {
			case "yes", "Yes", "YES", "on", "On", "ON":
				return true, nil
			case "no", "No", "NO", "off", "Off", "OFF":
				return false, nil
			}
		}
		return n.Value, nil
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, &lineError{n.Line, fmt.Sprintf("%q is not a %s", n.Value, strings.TrimPrefix(n.Tag, "!!"))}
		}
		switch v := v.(type) {
		case int:
			return int64(v), nil
		case uint64:
			return float64(v), nil
		case float64:
			if v != v || v-v != 0 {
				return nil, &lineError{n.Line, fmt.Sprintf("%q cannot be written as JSON", n.Value)}
			}
			return v, nil
		}
		return v, nil
	}
	return nil, &lineError{n.Line, fmt.Sprintf("the tag %s is not understood", n.Tag)}
}
