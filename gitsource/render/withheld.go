package render

import (
	"bytes"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/gitsource/render/sops"
)

// cipher begins every value that SOPS has encrypted.
const cipher = "ENC[AES256_GCM,"

// Withheld is an object that is not in a set because it has parts that are
// encrypted. An empty Namespace is the source's.
type Withheld struct {
	Group, Kind, Namespace, Name string
}

// readable gives an encrypted file of a kustomization as it lies there, without
// what SOPS adds, when its objects can be told by kind and name: kustomize can
// go on, and what has encrypted parts in the end is withheld.
func readable(content []byte) ([]byte, bool) {
	var out [][]byte
	for document := range strings.SplitSeq("\n"+string(content), "\n---") {
		var body map[string]any
		if yaml.Unmarshal([]byte(document), &body) != nil {
			return nil, false
		}
		if len(body) == 0 {
			continue
		}
		delete(body, "sops")
		metadata, _ := body["metadata"].(map[string]any)
		for _, word := range []any{body["apiVersion"], body["kind"], metadata["name"]} {
			if text, ok := word.(string); !ok || text == "" || strings.HasPrefix(text, "ENC[") {
				return nil, false
			}
		}
		if namespace, ok := metadata["namespace"].(string); ok && strings.HasPrefix(namespace, "ENC[") {
			return nil, false
		}
		encoded, err := yaml.Marshal(body)
		if err != nil {
			return nil, false
		}
		out = append(out, encoded)
	}
	return bytes.Join(out, []byte("---\n")), len(out) > 0
}

// peek reads an encrypted file without a key, where that is enough.
func (g *gitFS) peek(file string, content []byte) ([]byte, bool) {
	if !g.run.cfg.Sealed || g.whole || !sops.Encrypted(content) {
		return nil, false
	}
	plain, ok := readable(content)
	if ok && g.peeked == nil {
		g.peeked = map[string]bool{}
	}
	if ok {
		g.peeked[file] = true
	}
	return plain, ok
}

// tellable says whether what came of peeked files is to be told from the rest:
// a generator would make names of their content, and what else takes them in,
// as a replacement's or a transformer's file, may do anything with it.
func (g *gitFS) tellable() bool {
	for _, o := range g.overlays {
		if o.carries() {
			return false
		}
	}
	for file := range g.peeked {
		if g.generates(file) || !g.edited(file) {
			return false
		}
	}
	return true
}

// hasCipher tells whether a value has encrypted parts, as text or in base64.
func hasCipher(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, cipher)
	case map[string]any:
		for _, inner := range v {
			if hasCipher(inner) {
				return true
			}
		}
	case []any:
		for _, inner := range v {
			if hasCipher(inner) {
				return true
			}
		}
	}
	return false
}
