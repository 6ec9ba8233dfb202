package edit

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// replace puts a value in place of the last node of a chain.
func (t *text) replace(chain []place, value any) error {
	node, parent := chain[len(chain)-1].node, chain[len(chain)-2].node
	if absent(node) {
		return t.fill(chain, value)
	}
	from, to, err := t.span(node)
	if err != nil {
		return err
	}
	multiline := composite(value)
	if s, ok := value.(string); ok && strings.Contains(s, "\n") {
		multiline = true
	}
	switch {
	case !multiline || flow(node) || within(chain, flow):
		line, err := inline(value, node.Style)
		if err != nil {
			return err
		}
		if !scalar(node) && !flow(node) && parent.Kind == yaml.MappingNode {
			from, line = t.textEnd(from), " "+line
		}
		t.splice(from, to, line)
		return nil
	case !scalar(node) && composite(value):
		body, err := block(value, node.Column-1)
		if err != nil {
			return err
		}
		t.splice(from, to, body)
		return nil
	case parent.Kind != yaml.MappingNode:
		return errForm
	}
	entry, err := t.after(parent.Content[chain[len(chain)-1].index], value)
	if err != nil {
		return err
	}
	t.splice(t.textEnd(from), to, entry)
	return nil
}

// within tells whether a chain passes through such a node, its last one aside.
func within(chain []place, is func(*yaml.Node) bool) bool {
	for _, p := range chain[:len(chain)-1] {
		if is(p.node) {
			return true
		}
	}
	return false
}

// after is what comes after the colon of a key for a value that is written on
// lines of its own.
func (t *text) after(key *yaml.Node, value any) (string, error) {
	indent := key.Column - 1
	if !composite(value) { // a text with several lines
		body, err := block(map[string]any{"k": value}, indent)
		return strings.TrimPrefix(body, "k:"), err
	}
	body, err := block(value, indent+2)
	return "\n" + strings.Repeat(" ", indent+2) + body, err
}

// fill gives a key a value that has none.
func (t *text) fill(chain []place, value any) error {
	if len(chain) < 2 {
		return errForm
	}
	parent := chain[len(chain)-2].node
	if parent.Kind != yaml.MappingNode || flow(parent) || within(chain, flow) {
		return errForm
	}
	key := parent.Content[chain[len(chain)-1].index]
	_, to, err := t.span(key)
	if err != nil {
		return err
	}
	line, err := t.entry(key.Column-1, "", value)
	if err != nil {
		return err
	}
	t.splice(to, min(to+1, len(t.content)), line)
	return nil
}

// entry is a key with its value, as it is written in a block.
func (t *text) entry(indent int, key string, value any) (string, error) {
	name := ""
	if key != "" {
		var err error
		if name, err = inline(key, 0); err != nil {
			return "", err
		}
	}
	s, isText := value.(string)
	if composite(value) || isText && strings.Contains(s, "\n") {
		rest, err := t.after(&yaml.Node{Column: indent + 1}, value)
		return name + ":" + rest, err
	}
	line, err := inline(value, 0)
	return name + ": " + line, err
}

// insert adds what a path names below the last node of a chain.
func (t *text) insert(chain []place, path []step, value any) error {
	node := chain[len(chain)-1].node
	s := path[0]
	switch {
	case absent(node):
		return t.fill(chain, nested(path, value))
	case s.index >= 0 || node.Kind == yaml.ScalarNode || (node.Kind == yaml.SequenceNode) != (s.match != nil):
		return errForm
	case flow(node) || within(chain, flow):
		return t.insertFlow(node, path, value)
	}
	_, to, err := t.span(node)
	if err != nil {
		return err
	}
	at := t.lineEnd(to)
	if node.Kind == yaml.MappingNode {
		entry, err := t.entry(node.Column-1, s.key, nested(path[1:], value))
		if err != nil {
			return err
		}
		t.splice(at, at, "\n"+strings.Repeat(" ", node.Column-1)+entry)
		return nil
	}
	dash := node.Column - 1 // where a list in a block begins
	body, err := block(nested(path, value).([]any)[0], dash+2)
	if err != nil {
		return err
	}
	t.splice(at, at, "\n"+strings.Repeat(" ", dash)+"- "+body)
	return nil
}

func (t *text) insertFlow(node *yaml.Node, path []step, value any) error {
	_, to, err := t.span(node)
	if err != nil {
		return err
	}
	var line string
	if node.Kind == yaml.SequenceNode {
		line, err = inline(nested(path, value).([]any)[0], 0)
	} else {
		line, err = inline(map[string]any{path[0].key: nested(path[1:], value)}, 0)
		line = strings.TrimSuffix(strings.TrimPrefix(line, "{"), "}")
	}
	if err != nil {
		return err
	}
	at := t.textEnd(to - 1)
	if len(node.Content) > 0 {
		line = ", " + line
	}
	t.splice(at, at, line)
	return nil
}

// remove takes the last node of a chain out, with what would be empty without
// it.
func (t *text) remove(chain []place) error {
	at, parent := chain[len(chain)-1], chain[len(chain)-2].node
	width := 1
	if parent.Kind == yaml.MappingNode {
		width = 2
	}
	if len(parent.Content) == width {
		return errForm // nothing would be left: what that means is not known
	}
	first := parent.Content[at.index]
	from := t.start(first)
	if flow(parent) || within(chain, flow) {
		return t.removeFlow(parent, at.index, width)
	}
	if at.index == 0 && width == 2 { // it may share its line with a dash
		t.splice(from, t.start(parent.Content[width]), "")
		return nil
	}
	to := from
	if absent(at.node) {
		to = t.lineEnd(from)
	} else {
		var err error
		if _, to, err = t.span(at.node); err != nil {
			return err
		}
	}
	end := min(t.lineEnd(to)+1, len(t.content))
	t.splice(t.lineStart(from), end, "")
	return nil
}

func (t *text) removeFlow(parent *yaml.Node, index, width int) error {
	from := t.start(parent.Content[index])
	if index+width < len(parent.Content) {
		t.splice(from, t.start(parent.Content[index+width]), "")
		return nil
	}
	_, to, err := t.span(parent.Content[index+width-1])
	if err != nil {
		return err
	}
	_, before, err := t.span(parent.Content[index-1])
	if err != nil {
		return err
	}
	t.splice(before, to, "")
	return nil
}
