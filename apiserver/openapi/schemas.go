package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/util"
)

//go:generate sh -c "cd ../.. && go run ./apiserver/openapi/gen"

//go:embed definitions.json.gz
var compressed []byte

// schemas are the OpenAPI v3 schemas by name, each as it is encoded.
type schemas map[string]json.RawMessage

const refPrefix = "#/components/schemas/"

// reference finds the names that an encoded schema refers to.
var reference = regexp.MustCompile(`"\$ref":"#/components/schemas/([^"]+)"`)

// loadSchemas unpacks all schemas: some ten milliseconds and a few megabytes,
// which go away with the result.
func loadSchemas() (schemas, error) {
	z, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, fmt.Errorf("unpack the API definitions: %w", err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("unpack the API definitions: %w", err)
	}
	var s schemas
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("decode the API definitions: %w", err)
	}
	return s, nil
}

// reach takes the named schemas and all that they refer to.
func (s schemas) reach(names []string) schemas {
	out := schemas{}
	for queue := slices.Clone(names); len(queue) > 0; {
		name := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		raw, known := s[name]
		if _, done := out[name]; done || !known {
			continue
		}
		out[name] = raw
		for _, m := range reference.FindAllSubmatch(raw, -1) {
			queue = append(queue, string(m[1]))
		}
	}
	return out
}

// gvkExtension says which API kinds a schema is of.
const gvkExtension = "x-kubernetes-group-version-kind"

type gvkJSON struct {
	Group   string `json:"group"`
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

func wireGVK(gvk schema.GroupVersionKind) gvkJSON {
	return gvkJSON{Group: gvk.Group, Kind: gvk.Kind, Version: gvk.Version}
}

// withGVKs adds the extension to a schema.
func withGVKs(raw json.RawMessage, gvks []gvkJSON) (json.RawMessage, error) {
	b, err := json.Marshal(gvks)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", gvkExtension, err)
	}
	out := append([]byte(`{"`+gvkExtension+`":`), b...)
	if len(raw) > 2 {
		out = append(out, ',')
	}
	return append(out, raw[1:]...), nil
}

// modelName is the name of an object's schema.
func modelName(o any) string {
	if m, ok := o.(interface{ OpenAPIModelName() string }); ok {
		return m.OpenAPIModelName()
	}
	t := reflect.TypeOf(o)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return util.ToRESTFriendlyName(t.PkgPath() + "." + t.Name())
}

// digest is a short hash for ETags and hash URLs.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
