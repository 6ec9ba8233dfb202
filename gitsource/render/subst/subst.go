// Package subst puts variables into YAML documents: ${name} becomes the value
// of a declared variable. What is not declared is an error with its line, and
// $${ stands for ${ itself.
package subst

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Marker is the comment that asks for substitution; it stands before the first
// line that is no comment.
const Marker = "# headway: substitute"

// Wanted tells whether a file asks for substitution.
func Wanted(content []byte) bool {
	text := string(content[:min(len(content), 4096)])
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == Marker:
			return true
		case line != "" && line != "---" && !strings.HasPrefix(line, "#"):
			return false
		}
	}
	return false
}

// Variable is a value with its type, as a tag of YAML (!!str, !!int, !!float,
// !!bool).
type Variable struct{ Value, Tag string }

// Problem is a reference that stands for nothing.
type Problem struct {
	Line    int
	Message string
}

var (
	reference = regexp.MustCompile(`\$?\$\{[^}\n]*\}?`)
	name      = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)
)

// Document replaces the references in all values of a document. A value that is
// one unquoted reference and nothing else takes the variable's type; anything
// else is text.
func Document(n *yaml.Node, variables map[string]Variable) []Problem {
	var problems []Problem
	switch n.Kind {
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			problems = append(problems, Document(n.Content[i], variables)...)
		}
	case yaml.ScalarNode:
		if strings.Contains(n.Value, "${") {
			return scalar(n, variables)
		}
	case yaml.AliasNode: // its anchor is replaced where it stands
	default:
		for _, item := range n.Content {
			problems = append(problems, Document(item, variables)...)
		}
	}
	return problems
}

func scalar(n *yaml.Node, variables map[string]Variable) []Problem {
	const block = yaml.LiteralStyle | yaml.FoldedStyle
	if m := name.FindStringSubmatch(n.Value); m != nil && n.Style == 0 {
		if v, ok := variables[m[1]]; ok {
			n.Value, n.Tag = v.Value, v.Tag
			if v.Tag == "!!str" {
				n.Style = yaml.DoubleQuotedStyle
			}
			return nil
		}
	}
	var problems []Problem
	out, last := strings.Builder{}, 0
	for _, at := range reference.FindAllStringIndex(n.Value, -1) {
		text := n.Value[at[0]:at[1]]
		out.WriteString(n.Value[last:at[0]])
		last = at[1]
		if strings.HasPrefix(text, "$$") {
			out.WriteString(text[1:])
			continue
		}
		m := name.FindStringSubmatch(text)
		if m != nil {
			if v, ok := variables[m[1]]; ok {
				out.WriteString(v.Value)
				continue
			}
		}
		line := n.Line
		if n.Style&block != 0 {
			line += 1 + strings.Count(n.Value[:at[0]], "\n")
		}
		problems = append(problems, Problem{line, explain(text, m)})
	}
	out.WriteString(n.Value[last:])
	n.Value = out.String()
	if n.Style == 0 {
		n.Style = yaml.DoubleQuotedStyle
	}
	n.Tag = "!!str"
	return problems
}

func explain(text string, m []string) string {
	if m == nil {
		return fmt.Sprintf("%q is no reference to a variable; write %q to keep it as it is", text, "$"+text)
	}
	return fmt.Sprintf("there is no variable %q: declare it in the source's variables, or write %q to keep the text", m[1], "$"+text)
}
