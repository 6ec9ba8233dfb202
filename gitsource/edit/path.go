package edit

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// step is one part of a field's path.
type step struct {
	key   string
	index int            // of a list, when not negative
	match map[string]any // the item of a list that has these
}

var (
	part = regexp.MustCompile(`^\.?([^.\[\]]+)|^\[((?:"(?:[^"\\]|\\.)*"|[^\]"])*)\]`)
	pair = regexp.MustCompile(`([A-Za-z0-9]+)=("(?:[^"\\]|\\.)*"|[^,]*)`)
)

// parsePath reads a path as managed fields are shown:
// spec.containers[name="web"].image, metadata.labels["a.b/c"], args[0].
func parsePath(field string) ([]step, error) {
	var out []step
	for rest := field; rest != ""; {
		m := part.FindStringSubmatch(rest)
		if m == nil {
			return nil, fmt.Errorf("%q is no path of a field", field)
		}
		rest = rest[len(m[0]):]
		inner := m[2]
		if n, err := strconv.Atoi(inner); err == nil && m[1] == "" {
			out = append(out, step{index: n})
			continue
		}
		s := step{key: m[1], index: -1}
		switch {
		case m[1] != "":
		case strings.HasPrefix(inner, `"`):
			if err := json.Unmarshal([]byte(inner), &s.key); err != nil {
				return nil, fmt.Errorf("%q is no path of a field", field)
			}
		case strings.Contains(inner, "=") && !strings.HasPrefix(inner, "="):
			s.match = map[string]any{}
			for _, p := range pair.FindAllStringSubmatch(inner, -1) {
				var v any
				if json.Unmarshal([]byte(p[2]), &v) != nil {
					v = p[2]
				}
				s.match[p[1]] = v
			}
		default:
			return nil, fmt.Errorf("%q is a value of a list and has no place of its own", field)
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%q is no path of a field", field)
	}
	return out, nil
}

// in is the index of what the step names in a node: of the key in a mapping, of
// the item in a list; -1 when there is none.
func (s step) in(node *yaml.Node) int {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if s.match == nil && s.index < 0 && node.Content[i].Value == s.key {
				return i
			}
		}
	case yaml.SequenceNode:
		for i, item := range node.Content {
			var v any
			if i == s.index || s.match != nil && item.Decode(&v) == nil && s.is(v) {
				return i
			}
		}
	}
	return -1
}

// is tells whether an item of a list has what the step wants; what it does not
// say at all it has by default.
func (s step) is(item any) bool {
	m, ok := item.(map[string]any)
	if !ok || s.match == nil {
		return false
	}
	said := false
	for k, want := range s.match {
		v, has := m[k]
		if has && fmt.Sprint(v) != fmt.Sprint(want) {
			return false
		}
		said = said || has
	}
	return said
}
