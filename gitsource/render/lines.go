package render

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// lines finds the lines of fields in the files of a commit. Files are read
// again for it, which costs nothing while a commit has no mistakes; the newest
// one is remembered, because mistakes come in flocks.
type lines struct {
	read func(file string) ([]byte, error)

	mu        sync.Mutex // guards all below
	file      string
	documents []*yaml.Node
}

// Line is where a field of an object is written, given as the API server names
// it ("spec.containers[0].image"). When the field is not there, it is the line
// of what should have it; when the object's file is no plain YAML or JSON, or
// says another value than the object has, it is the object's own.
func (s *Set) Line(o *Object, field string) int32 {
	line, _ := s.Place(o, field)
	return line
}

// Place is Line, and whether the line is the field's own and says the value
// that the object has.
func (s *Set) Place(o *Object, field string) (line int32, own bool) {
	if s.lines == nil || !o.written {
		return o.Line, false
	}
	root := s.lines.document(o)
	if root == nil {
		return o.Line, false
	}
	path := steps(field)
	node, line, depth := descend(root, path)
	if depth == 0 && len(path) > 1 && o.Body.GetKind() == "Secret" && path[0].key == "data" {
		path[0].key = "stringData" // see storable
		node, line, depth = descend(root, path)
	}
	if depth == len(path) && node.Kind == yaml.ScalarNode && path[0].key != "stringData" && !says(o.Body.Object, path, node.Value) {
		return o.Line, false // a patch has put something else there
	}
	return line, depth == len(path)
}

// document is the node that an object was read from.
func (l *lines) document(o *Object) *yaml.Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != o.File {
		content, err := l.read(o.File)
		if err != nil {
			return nil
		}
		l.file, l.documents = o.File, nil
		decoder := yaml.NewDecoder(bytes.NewReader(content))
		for {
			var document yaml.Node
			if decoder.Decode(&document) != nil {
				break
			}
			if len(document.Content) == 1 {
				l.documents = append(l.documents, document.Content[0])
			}
		}
	}
	for _, document := range l.documents {
		if found := at(document, int(o.Line)); found != nil {
			return found
		}
	}
	return nil
}

// at is the document, or the item of the list, that begins at a line.
func at(node *yaml.Node, line int) *yaml.Node {
	items := child(node, "items")
	if items == nil || items.Kind != yaml.SequenceNode {
		if node.Line == line {
			return node
		}
		return nil
	}
	for _, item := range items.Content {
		if found := at(item, line); found != nil {
			return found
		}
	}
	return nil
}

// step is one part of a field's path.
type step struct {
	key   string
	index int               // of a list, when not negative
	match map[string]string // the item of a list that has these
}

var (
	part    = regexp.MustCompile(`^\.?([^.\[\]]+)|^\[([^\]]*)\]`)
	keyword = regexp.MustCompile(`([A-Za-z0-9]+)="?([^",]*)"?`)
)

// steps reads a path such as spec.ports[0].name, metadata.labels[a.b/c] or
// .spec.ports[port=80,protocol="TCP"].
func steps(field string) []step {
	var out []step
	for field != "" {
		m := part.FindStringSubmatch(field)
		if m == nil {
			break
		}
		field = field[len(m[0]):]
		switch n, err := strconv.Atoi(m[2]); {
		case m[1] != "":
			out = append(out, step{key: m[1], index: -1})
		case err == nil:
			out = append(out, step{key: m[2], index: n})
		case strings.Contains(m[2], "="):
			s := step{index: -1, match: map[string]string{}}
			for _, pair := range keyword.FindAllStringSubmatch(m[2], -1) {
				s.match[pair[1]] = pair[2]
			}
			out = append(out, s)
		default:
			out = append(out, step{key: strings.Trim(m[2], `"`), index: -1})
		}
	}
	return out
}

// descend follows a path as far as it is written; depth is how far that is,
// and line the line of the last part's key.
func descend(node *yaml.Node, path []step) (_ *yaml.Node, line int32, depth int) {
	line = int32(node.Line)
	for _, s := range path {
		for node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		next, at := s.in(node)
		if next == nil {
			return node, line, depth
		}
		node, line, depth = next, at, depth+1
	}
	return node, line, depth
}

func (s step) in(node *yaml.Node) (*yaml.Node, int32) {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == s.key && s.match == nil {
				return node.Content[i+1], int32(node.Content[i].Line)
			}
		}
	case yaml.SequenceNode:
		for i, item := range node.Content {
			if i == s.index || s.match != nil && s.matches(item) {
				return item, int32(item.Line)
			}
		}
	}
	return nil, 0
}

func (s step) matches(item *yaml.Node) bool {
	for key, value := range s.match {
		if n := child(item, key); n != nil && n.Value != value {
			return false
		}
	}
	return true
}

// says tells whether an object has the value that its file says.
func says(value any, path []step, want string) bool {
	for _, s := range path {
		switch v := value.(type) {
		case map[string]any:
			value = v[s.key]
		case []any:
			if s.index < 0 || s.index >= len(v) {
				return true // found by what it has
			}
			value = v[s.index]
		}
	}
	if strings.HasPrefix(want, "ENC[") || strings.Contains(want, "${") {
		return true // decrypted, or put in
	}
	switch value.(type) {
	case string, int64:
		return fmt.Sprint(value) == want
	}
	return true
}
