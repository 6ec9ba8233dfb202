package edit

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// text is a file that is being changed.
type text struct {
	content []byte
	offsets []int // where each line begins
}

// errForm says that something is written in a way that is not understood well
// enough to be changed.
var errForm = errors.New("is written in a form that is not changed in place")

func lineOffsets(content []byte) []int {
	out := []int{0}
	for i, b := range content {
		if b == '\n' {
			out = append(out, i+1)
		}
	}
	return out
}

// start is where a node begins; columns count characters.
func (t *text) start(n *yaml.Node) int {
	at := t.offsets[min(n.Line, len(t.offsets))-1]
	for range max(0, n.Column-1) {
		_, size := utf8.DecodeRune(t.content[at:])
		at += size
	}
	return at
}

// lineStart and lineEnd bound the line that an offset is on, without its end.
func (t *text) lineStart(at int) int { return bytes.LastIndexByte(t.content[:at], '\n') + 1 }

func (t *text) lineEnd(at int) int {
	if i := bytes.IndexByte(t.content[at:], '\n'); i >= 0 {
		return at + i
	}
	return len(t.content)
}

// textEnd is where what is written before an offset ends.
func (t *text) textEnd(at int) int { return len(bytes.TrimRight(t.content[:at], " \n")) }

// splice puts text in place of a range.
func (t *text) splice(from, to int, with string) {
	t.content = append(append(append([]byte{}, t.content[:from]...), with...), t.content[to:]...)
}

func flow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

func scalar(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode }

// absent tells whether nothing at all is written for a value.
func absent(n *yaml.Node) bool { return scalar(n) && n.Value == "" && n.Tag == "!!null" }

// span is where a node begins and ends. Nothing that is absent has one.
func (t *text) span(n *yaml.Node) (from, to int, err error) {
	if n.Anchor != "" || n.Kind == yaml.AliasNode || absent(n) || n.Style&yaml.TaggedStyle != 0 {
		return 0, 0, errForm
	}
	from = t.start(n)
	switch {
	case scalar(n):
		to, err = t.scalarEnd(n, from)
	case flow(n):
		to, err = t.flowEnd(n, from)
	default:
		last := n.Content[len(n.Content)-1]
		if absent(last) && n.Kind == yaml.MappingNode {
			_, to, err = t.span(n.Content[len(n.Content)-2])
			return from, min(to+1, len(t.content)), err // with its colon
		}
		_, to, err = t.span(last)
	}
	return from, to, err
}

func (t *text) scalarEnd(n *yaml.Node, from int) (int, error) {
	rest := t.content[from:]
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		for i := 1; i < len(rest); i++ {
			switch rest[i] {
			case '\\':
				i++
			case '"':
				return from + i + 1, nil
			}
		}
	case n.Style&yaml.SingleQuotedStyle != 0:
		for i := 1; i < len(rest); i++ {
			if rest[i] != '\'' {
				continue
			}
			if i+1 < len(rest) && rest[i+1] == '\'' {
				i++
				continue
			}
			return from + i + 1, nil
		}
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return t.blockEnd(from), nil
	case bytes.HasPrefix(rest, []byte(n.Value)):
		return from + len(n.Value), nil
	}
	return 0, errForm
}

// blockEnd is the end of a literal or folded text: as long as lines are
// indented as its first one is.
func (t *text) blockEnd(from int) int {
	end, indent := t.lineEnd(from), -1
	for at := end + 1; at < len(t.content); at = t.lineEnd(at) + 1 {
		line := t.content[at:t.lineEnd(at)]
		body := bytes.TrimLeft(line, " ")
		if len(body) == 0 {
			continue
		}
		if indent < 0 {
			indent = len(line) - len(body)
		}
		if len(line)-len(body) < indent || indent == 0 {
			break
		}
		end = t.lineEnd(at)
	}
	return end
}

// flowEnd is the end of a map or list in braces or brackets.
func (t *text) flowEnd(n *yaml.Node, from int) (int, error) {
	at := from + 1
	if len(n.Content) > 0 {
		last := n.Content[len(n.Content)-1]
		if absent(last) {
			return 0, errForm
		}
		_, to, err := t.span(last)
		if err != nil {
			return 0, err
		}
		at = to
	}
	closing := byte('}')
	if n.Kind == yaml.SequenceNode {
		closing = ']'
	}
	for ; at < len(t.content); at++ {
		switch c := t.content[at]; {
		case c == closing:
			return at + 1, nil
		case c == '#':
			at = t.lineEnd(at) // a comment
		}
	}
	return 0, errForm
}

// inline renders a value on one line.
func inline(v any, style yaml.Style) (string, error) {
	var n yaml.Node
	if err := n.Encode(v); err != nil {
		return "", err
	}
	flatten(&n)
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && n.Style == 0 && style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		n.Style = style & (yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle)
	}
	out, err := yaml.Marshal(&n)
	if err != nil {
		return "", err
	}
	line := strings.TrimSuffix(string(out), "\n")
	if strings.Contains(line, "\n") {
		return "", fmt.Errorf("does not fit on a line: %w", errForm)
	}
	return line, nil
}

// flatten has a node and all below it written on one line.
func flatten(n *yaml.Node) {
	switch {
	case n.Kind != yaml.ScalarNode:
		n.Style |= yaml.FlowStyle
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		flatten(c)
	}
}

// block renders a value on lines that are indented by a number of spaces but
// for the first one.
func block(v any, indent int) (string, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(v), encoder.Close()); err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for i := 1; i < len(lines); i++ {
		if lines[i] != "" {
			lines[i] = strings.Repeat(" ", indent) + lines[i]
		}
	}
	return strings.Join(lines, "\n"), nil
}

// composite tells whether a value is a map or a list with something in it.
func composite(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) > 0
	case []any:
		return len(v) > 0
	}
	return false
}
