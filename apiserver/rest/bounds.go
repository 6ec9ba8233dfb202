package rest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"

	yamlv3 "go.yaml.in/yaml/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"
)

// checkBounds refuses a body that is nested deeper than any object of the API,
// so that no decoder behind it recurses without bound, and YAML that stands for
// more than it says.
func checkBounds(body []byte, media string) error {
	deep := false
	switch media {
	case mediaCBOR:
		return nil // its decoder has bounds of its own
	case mediaProtobuf:
		deep = deepMessage(body, maxDepth)
	case mediaYAML:
		if err := checkYAML(body); err != nil {
			return err
		}
		expanded, err := yaml.YAMLToJSON(body)
		if err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("error converting YAML to JSON: %v", err))
		}
		deep = deepJSON(expanded, maxDepth)
	default:
		deep = deepJSON(body, maxDepth)
	}
	if deep {
		return apierrors.NewBadRequest(fmt.Sprintf("the body is nested deeper than %d levels", maxDepth))
	}
	return nil
}

func deepJSON(body []byte, limit int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// deepMessage tells whether a protobuf message may be nested deeper than the
// limit: the generated decoders of types that contain themselves, such as a
// definition's schema, recurse as deep as the bytes do. Without a schema every
// length-delimited field is taken for a message; text never nests that deep by
// chance. It reads numbers as those decoders do, and gives up where they do.
func deepMessage(b []byte, limit int) bool {
	b = bytes.TrimPrefix(b, []byte("k8s\x00"))
	if limit < 0 {
		return true
	}
	for len(b) > 0 {
		tag, rest, ok := varint(b)
		if !ok {
			return false
		}
		skip := uint64(0)
		switch tag & 7 {
		case 0:
			_, rest, ok = varint(rest)
		case 1:
			skip = 8
		case 2:
			if skip, rest, ok = varint(rest); ok && skip <= uint64(len(rest)) && deepMessage(rest[:skip], limit-1) {
				return true
			}
		case 3, 4: // what is in a group is skipped without recursion
		case 5:
			skip = 4
		default:
			return false
		}
		if !ok || skip > uint64(len(rest)) {
			return false
		}
		b = rest[skip:]
	}
	return false
}

// varint reads one number; bits beyond the 64th are lost.
func varint(b []byte) (n uint64, rest []byte, ok bool) {
	for i := 0; i < len(b) && i < 10; i++ {
		n |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return n, b[i+1:], true
		}
	}
	return 0, nil, false
}

// maxExpanded bounds what YAML may grow to by its aliases.
const maxExpanded = 2 * DefaultMaxBody

// checkYAML refuses YAML whose aliases multiply what it says, and a second
// document, which the decoder would silently drop. Few bodies have either's
// marks, and the others are not looked at.
func checkYAML(body []byte) error {
	aliases, documents := bytes.ContainsRune(body, '*') && bytes.ContainsRune(body, '&'), bytes.Contains(body, []byte("---"))
	if !aliases && !documents {
		return nil
	}
	decoder := yamlv3.NewDecoder(bytes.NewReader(body))
	for first := true; ; first = false {
		var document yamlv3.Node
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("error converting YAML to JSON: %v", err))
		}
		if !first && !isEmpty(&document) {
			return apierrors.NewBadRequest("the body has more than one document")
		}
		if size := expanded(&document, map[*yamlv3.Node]float64{}); size > maxExpanded {
			return apierrors.NewBadRequest(fmt.Sprintf("the aliases of the YAML expand it to more than %d bytes", int64(maxExpanded)))
		}
	}
}

func isEmpty(document *yamlv3.Node) bool {
	return len(document.Content) == 0 || document.Content[0].Kind == yamlv3.ScalarNode && document.Content[0].Tag == "!!null"
}

// expanded estimates how many bytes a node is without aliases; one that refers
// to itself is infinite.
func expanded(n *yamlv3.Node, known map[*yamlv3.Node]float64) float64 {
	if n.Kind == yamlv3.AliasNode {
		n = n.Alias
	}
	if size, ok := known[n]; ok {
		return size
	}
	known[n] = math.Inf(1)
	size := float64(len(n.Value) + 1)
	for _, child := range n.Content {
		size += expanded(child, known)
	}
	known[n] = size
	return size
}
