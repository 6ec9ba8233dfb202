package openapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/kind"
)

// state is what the documents are made of and what is made of them, as long as
// the kinds are the same. The handler's mutex guards it.
type state struct {
	version int64 // of the custom kinds
	catalog *catalog
	byPath  map[string]schema.GroupVersion // "apis/apps/v1"
	kept    map[string][]byte              // compressed documents by path, media type and hash
	// index and hashes are made on first use.
	index  []byte
	hashes map[string]string
}

// now gives the state for the kinds that there are now. The mutex is held.
func (h *Handler) now() (*state, error) {
	var version int64
	rows := func() []*kind.Kind { return nil }
	if h.custom != nil {
		version, rows = h.custom()
	}
	if h.state != nil && h.state.version == version {
		return h.state, nil
	}
	c, err := newCatalog(h.kinds, h.extra, h.scheme, h.version)
	if err != nil {
		return nil, err
	}
	for _, k := range rows() {
		for _, row := range k.Rows() {
			if err := c.addCustom(row, h.scheme); err != nil {
				return nil, err
			}
		}
	}
	next := &state{version: version, catalog: c, byPath: map[string]schema.GroupVersion{}, kept: map[string][]byte{}}
	for gv := range c.resources {
		next.byPath[strings.TrimPrefix(prefix(gv), "/")] = gv
	}
	if h.state != nil {
		next.kept = h.state.kept
	}
	h.state = next
	return next, nil
}

// prepare makes the hashes and the index once. A hash covers the schemas and
// everything that the paths are made of.
func (h *Handler) prepare(s *state) error {
	if s.index != nil {
		return nil
	}
	type entry struct {
		URL string `json:"serverRelativeURL"`
	}
	paths, hashes := map[string]entry{}, map[string]string{}
	var all [][]byte
	for _, gv := range s.catalog.versions() {
		name := strings.TrimPrefix(prefix(gv), "/")
		hash, err := h.hash(s.catalog, gv)
		if err != nil {
			return err
		}
		hashes[name] = hash
		all = append(all, []byte(hash))
		paths[name] = entry{URL: "/openapi/v3/" + name + "?hash=" + hash}
	}
	hashes[""] = strings.ToUpper(digest(all...))
	index, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		return fmt.Errorf("encode the OpenAPI index: %w", err)
	}
	s.index, s.hashes = index, hashes
	for key := range s.kept { // what belongs to other kinds than those of now
		name, rest, _ := strings.Cut(key, " ")
		if !strings.HasSuffix(rest, " "+hashes[name]) {
			delete(s.kept, key)
		}
	}
	return nil
}

// hash is a version's; those without custom kinds are remembered.
func (h *Handler) hash(c *catalog, gv schema.GroupVersion) (string, error) {
	custom := slices.ContainsFunc(c.resources[gv], func(r *resource) bool { return r.custom })
	if known, ok := h.fixed[gv]; ok && !custom {
		return known, nil
	}
	described, err := json.Marshal(c.paths(gv))
	if err != nil {
		return "", fmt.Errorf("encode paths of %s: %w", gv, err)
	}
	parts := [][]byte{compressed, described, []byte(c.version)}
	for _, r := range c.resources[gv] {
		parts = append(parts, c.custom[r.model])
	}
	sum := strings.ToUpper(digest(parts...))
	if !custom {
		h.fixed[gv] = sum
	}
	return sum, nil
}
