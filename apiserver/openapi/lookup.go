package openapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Lookup finds the schemas of kinds for a while: it holds all of them, and is
// to be forgotten afterwards. It is used by one goroutine.
type Lookup struct {
	handler *Handler
	all     schemas
	decoded map[string]*spec.Schema
}

// Lookup begins a look-up.
func (h *Handler) Lookup() *Lookup { return &Lookup{handler: h, decoded: map[string]*spec.Schema{}} }

// Schema is a kind's schema with all that it refers to inside it; nil when the
// kind is not served.
func (l *Lookup) Schema(gvk schema.GroupVersionKind) (*spec.Schema, error) {
	model, custom, err := l.handler.model(gvk)
	if err != nil || model == "" {
		return nil, err
	}
	if l.all == nil {
		if l.all, err = loadSchemas(); err != nil {
			return nil, err
		}
	}
	if custom != nil {
		l.all[model] = custom
		delete(l.decoded, refPrefix+model)
	}
	s, err := resolver.PopulateRefs(l.schema, refPrefix+model)
	if errors.Is(err, resolver.ErrSchemaNotFound) {
		return nil, fmt.Errorf("schema of %v: %w", gvk, err)
	}
	return s, err
}

func (l *Lookup) schema(ref string) (*spec.Schema, bool) {
	if s, ok := l.decoded[ref]; ok {
		return s, s != nil
	}
	var s *spec.Schema
	if raw, ok := l.all[strings.TrimPrefix(ref, refPrefix)]; ok {
		if s = new(spec.Schema); json.Unmarshal(raw, s) != nil {
			s = nil // the schema of a custom kind can be anything
		} else if len(s.Type) == 0 && len(s.OneOf) > 0 {
			s.Format = "int-or-string" // a quantity: it can be either
		}
	}
	l.decoded[ref] = s
	return s, s != nil
}

// model is the name of a kind's schema, and the schema itself when it is a
// custom one.
func (h *Handler) model(gvk schema.GroupVersionKind) (string, json.RawMessage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, err := h.now()
	if err != nil {
		return "", nil, err
	}
	of := s.catalog.resources[gvk.GroupVersion()]
	i := slices.IndexFunc(of, func(r *resource) bool { return r.gvk == gvk && r.sub == "" })
	if i < 0 {
		return "", nil, nil
	}
	return of[i].model, s.catalog.custom[of[i].model], nil
}
