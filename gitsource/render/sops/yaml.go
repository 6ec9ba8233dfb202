package sops

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
	"go.yaml.in/yaml/v3"
)

// Error is what is wrong with an encrypted file, and where.
type Error struct {
	Line    int // 0: the file as such
	Message string
	NoKey   bool // another key may open it
}

func (e *Error) Error() string { return e.Message }

// Documents decrypts the documents of a YAML or JSON file in place and takes
// SOPS's own data out; every node keeps its line. It gives the values that must
// not be seen. Its errors are of the type *Error.
func Documents(documents []*yaml.Node, ids []age.Identity) (secrets []string, err error) {
	var meta *metadata
	for _, d := range documents {
		node := take(d)
		if node == nil || meta != nil {
			continue
		}
		meta = &metadata{}
		if err := node.Decode(meta); err != nil {
			return nil, &Error{Line: node.Line, Message: "SOPS's own data are not understood"}
		}
	}
	if meta == nil {
		return nil, &Error{Message: "has no data of SOPS (the key sops)"}
	}
	o, err := newOpener(*meta, ids)
	if err != nil {
		return nil, unopened(err)
	}
	for _, d := range documents {
		if err := o.walk(d, nil, 0); err != nil {
			return nil, err
		}
	}
	if err := o.check(); err != nil {
		return nil, &Error{Message: "is encrypted with SOPS, and is refused: " + err.Error()}
	}
	return o.secrets, nil
}

// take takes SOPS's data out of a document.
func take(document *yaml.Node) *yaml.Node {
	if document.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(document.Content); i += 2 {
		if document.Content[i].Value == "sops" {
			found := document.Content[i+1]
			document.Content = append(document.Content[:i:i], document.Content[i+2:]...)
			return found
		}
	}
	return nil
}

const maxDepth = 100

func (o *opener) walk(n *yaml.Node, path []string, depth int) error {
	if depth > maxDepth {
		return &Error{Line: n.Line, Message: fmt.Sprintf("nested more than %d deep", maxDepth)}
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if err := o.walk(n.Content[i+1], append(path[:len(path):len(path)], n.Content[i].Value), depth+1); err != nil {
				return err
			}
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if err := o.walk(item, path, depth+1); err != nil {
				return err
			}
		}
	case yaml.AliasNode:
		return &Error{Line: n.Line, Message: "an encrypted file must not have aliases"}
	case yaml.ScalarNode:
		return o.scalar(n, path)
	}
	return nil
}

func (o *opener) scalar(n *yaml.Node, path []string) error {
	if n.ShortTag() == "!!null" {
		return nil
	}
	if !o.encrypted(path) {
		plain, err := counted(n)
		if err != nil {
			return &Error{Line: n.Line, Message: err.Error()}
		}
		o.count(false, plain)
		return nil
	}
	plain, kind, err := o.value(path, n.Value)
	if err != nil {
		return &Error{Line: n.Line, Message: strings.Join(path, ".") + " " + err.Error()}
	}
	o.count(true, plain)
	n.Value, n.Style = plain, yaml.DoubleQuotedStyle
	switch kind {
	case "int":
		n.Tag, n.Style = "!!int", 0
	case "float":
		n.Tag, n.Style = "!!float", 0
	case "bool":
		n.Tag, n.Value, n.Style = "!!bool", strings.ToLower(plain), 0
	default:
		n.Tag = "!!str"
	}
	return nil
}

// counted is a plain value as it goes into the authentication code.
func counted(n *yaml.Node) (string, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return "", errors.New("is not understood")
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case int:
		return strconv.Itoa(v), nil
	case float64:
		if math.IsNaN(v) {
			return "NaN", nil
		}
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case bool:
		if v {
			return "True", nil
		}
		return "False", nil
	case time.Time:
		text, err := v.MarshalText()
		return string(text), err
	}
	return "", fmt.Errorf("a value of the type %s cannot be checked", n.ShortTag())
}

// unopened is the error about a file whose data key is not to be had.
func unopened(err error) *Error {
	return &Error{Message: "is encrypted with SOPS, and cannot be decrypted: " + err.Error(), NoKey: errors.Is(err, ErrNoKey)}
}
