package edit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Change is a field and its new value; nil takes the field out.
type Change struct {
	Path  string // as `spec.containers[name="web"].image`
	Value any
}

// ErrElsewhere says that a value is not written in the lines of the object.
var ErrElsewhere = errors.New("is put together from a variable, an anchor or an encrypted value")

// Apply makes changes to the object that begins at a line of a file.
func Apply(content []byte, line int32, changes []Change) ([]byte, error) {
	for _, c := range changes {
		next, err := apply(content, int(line), c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Path, err)
		}
		content = next
	}
	return content, nil
}

func apply(content []byte, line int, c Change) ([]byte, error) {
	path, err := parsePath(c.Path)
	if err != nil {
		return nil, err
	}
	docs, err := decode(content)
	if err != nil {
		return nil, err
	}
	root := find(docs, line)
	if root == nil {
		return nil, fmt.Errorf("no object begins at line %d", line)
	}
	t := &text{content: content, offsets: lineOffsets(content)}
	chain, err := descend(root, path)
	if err != nil {
		return nil, err
	}
	switch whole := len(chain)-1 == len(path); {
	case whole && c.Value != nil:
		err = t.replace(chain, c.Value)
	case whole:
		err = t.remove(chain)
	case c.Value != nil:
		err = t.insert(chain, path[len(chain)-1:], c.Value)
	default:
		return content, nil // it is not there already
	}
	if err != nil {
		return nil, err
	}
	return t.content, check(content, t.content, line, path, c.Value)
}

// place is a value on the way to a field.
type place struct {
	node  *yaml.Node
	index int // in the node's parent: of its key in a mapping, of itself in a list
}

// descend follows a path as far as it is written; the first place is the root.
func descend(root *yaml.Node, path []step) ([]place, error) {
	chain := []place{{node: root}}
	for _, s := range path {
		node := chain[len(chain)-1].node
		if node.Kind == yaml.AliasNode || node.Anchor != "" {
			return nil, ErrElsewhere
		}
		at := s.in(node)
		if at < 0 {
			break
		}
		next := place{node.Content[at], at}
		if node.Kind == yaml.MappingNode {
			next.node = node.Content[at+1]
		}
		chain = append(chain, next)
	}
	last := chain[len(chain)-1].node
	if last.Kind == yaml.AliasNode || last.Anchor != "" || last.Kind == yaml.ScalarNode && (strings.Contains(last.Value, "${") || strings.HasPrefix(last.Value, "ENC[")) {
		return nil, ErrElsewhere
	}
	return chain, nil
}

func decode(content []byte) ([]*yaml.Node, error) {
	var out []*yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(doc.Content) == 1 {
			out = append(out, doc.Content[0])
		}
	}
}

// find is the document, or the item of a List, that begins at a line.
func find(nodes []*yaml.Node, line int) *yaml.Node {
	for _, n := range nodes {
		if at := (step{key: "items", index: -1}).in(n); at >= 0 && n.Content[at+1].Kind == yaml.SequenceNode {
			if found := find(n.Content[at+1].Content, line); found != nil {
				return found
			}
			continue
		}
		if n.Line == line {
			return n
		}
	}
	return nil
}

// check reads the result back: it has to be the old file with the one change.
func check(before, after []byte, line int, path []step, value any) error {
	was, err := decode(before)
	if err != nil {
		return err
	}
	is, err := decode(after)
	if err != nil {
		return fmt.Errorf("cannot be changed in place: %w", err)
	}
	if len(was) != len(is) {
		return errors.New("cannot be changed in place: the file would fall apart")
	}
	for i := range was {
		want, err := wanted(was[i], line, path, value)
		if err != nil {
			return err
		}
		var got any
		if err := is[i].Decode(&got); err != nil {
			return err
		}
		if !same(want, got) {
			return errors.New("cannot be changed in place without changing something else")
		}
	}
	return nil
}

// wanted is a document with the change, if it is the one that has the object.
func wanted(doc *yaml.Node, line int, path []step, value any) (any, error) {
	object := find([]*yaml.Node{doc}, line)
	if object != nil {
		var v any
		if err := object.Decode(&v); err != nil {
			return nil, err
		}
		var encoded yaml.Node
		if err := encoded.Encode(set(v, path, value)); err != nil {
			return nil, err
		}
		*object = encoded
	}
	var out any
	err := doc.Decode(&out)
	return out, err
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// set gives v with a field changed.
func set(v any, path []step, value any) any {
	if len(path) == 0 {
		return value
	}
	s := path[0]
	switch v := v.(type) {
	case []any:
		at := slices.IndexFunc(v, s.is)
		if s.index >= 0 && s.index < len(v) {
			at = s.index
		}
		switch {
		case at < 0 && (value == nil || s.match == nil): // there is no place for it
		case at < 0:
			return append(v, nested(path, value).([]any)...)
		case len(path) == 1 && value == nil:
			return slices.Delete(v, at, at+1)
		default:
			v[at] = set(v[at], path[1:], value)
		}
		return v
	case map[string]any:
		if len(path) == 1 && value == nil {
			delete(v, s.key)
		} else if _, there := v[s.key]; there || value != nil {
			v[s.key] = set(v[s.key], path[1:], value)
		}
		return v
	}
	if value == nil {
		return v
	}
	return nested(path, value)
}

// nested is a value with the maps and lists around it that a path names.
func nested(path []step, value any) any {
	for _, s := range slices.Backward(path) {
		if s.match == nil {
			value = map[string]any{s.key: value}
			continue
		}
		item, ok := value.(map[string]any)
		if !ok {
			item = map[string]any{}
		}
		for k, v := range s.match {
			if _, has := item[k]; !has {
				item[k] = v
			}
		}
		value = []any{item}
	}
	return value
}
