package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/kind"
)

const (
	mediaJSON = "application/json"
	mediaV2   = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	mediaV3   = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// Handler serves /openapi/v3, what is below it, and /openapi/v2.
type Handler struct {
	catalog *catalog
	log     *slog.Logger
	byPath  map[string]schema.GroupVersion // "apis/apps/v1"

	mu   sync.Mutex        // guards kept, and makes documents one at a time
	kept map[string][]byte // compressed documents by path and media type
	// index and hashes are made on first use, under mu.
	index  []byte
	hashes map[string]string
}

// New prepares the handler; it reads no schemas yet. version is the server's
// version as the documents show it.
func New(kinds []*kind.Kind, extra map[schema.GroupVersion][]metav1.APIResource, scheme *runtime.Scheme, version string, log *slog.Logger) (*Handler, error) {
	c, err := newCatalog(kinds, extra, scheme, version)
	if err != nil {
		return nil, err
	}
	h := &Handler{catalog: c, log: log, byPath: map[string]schema.GroupVersion{}, kept: map[string][]byte{}}
	for gv := range c.resources {
		h.byPath[strings.TrimPrefix(prefix(gv), "/")] = gv
	}
	return h, nil
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Trim(r.URL.Path, "/")
	rest, v3 := strings.CutPrefix(path, "openapi/v3")
	name := strings.Trim(rest, "/")
	_, known := h.byPath[name]
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
	case v3 && name == "":
		h.serveIndex(w, r)
	case v3 && known:
		h.serveDocument(w, r, name, mediaV3)
	case path == "openapi/v2":
		h.serveDocument(w, r, "", mediaV2)
	default:
		http.NotFound(w, r)
	}
}

// prepare makes the hashes and the index once. A hash covers the schemas and
// everything that the paths are made of.
func (h *Handler) prepare() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.index != nil {
		return nil
	}
	type entry struct {
		URL string `json:"serverRelativeURL"`
	}
	paths, hashes := map[string]entry{}, map[string]string{}
	var all [][]byte
	for _, gv := range h.catalog.versions() {
		described, err := json.Marshal(h.catalog.paths(gv))
		if err != nil {
			return fmt.Errorf("encode paths of %s: %w", gv, err)
		}
		name := strings.TrimPrefix(prefix(gv), "/")
		hashes[name] = strings.ToUpper(digest(compressed, described, []byte(h.catalog.version)))
		all = append(all, []byte(hashes[name]))
		paths[name] = entry{URL: "/openapi/v3/" + name + "?hash=" + hashes[name]}
	}
	hashes[""] = strings.ToUpper(digest(all...))
	index, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		return fmt.Errorf("encode the OpenAPI index: %w", err)
	}
	h.index, h.hashes = index, hashes
	return nil
}

func (h *Handler) serveIndex(w http.ResponseWriter, r *http.Request) {
	if err := h.prepare(); err != nil {
		h.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", mediaJSON)
	w.Header().Set("ETag", `"`+h.hashes[""]+`"`)
	if strings.Contains(r.Header.Get("If-None-Match"), h.hashes[""]) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if r.Method == http.MethodGet {
		w.Write(h.index) // an error means that the client is gone
	}
}

// serveDocument answers with a document in JSON or in the given protobuf form.
func (h *Handler) serveDocument(w http.ResponseWriter, r *http.Request, name, protobuf string) {
	if err := h.prepare(); err != nil {
		h.fail(w, err)
		return
	}
	media, ok := wanted(r.Header.Get("Accept"), protobuf)
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	hash, header := h.hashes[name], w.Header()
	header.Set("Vary", "Accept, Accept-Encoding")
	if asked := r.URL.Query().Get("hash"); asked != "" && name != "" {
		if asked != hash {
			http.Redirect(w, r, "/openapi/v3/"+name+"?hash="+hash, http.StatusMovedPermanently)
			return
		}
		header.Set("Cache-Control", "public, immutable")
		header.Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	header.Set("ETag", `"`+hash+`"`)
	if strings.Contains(r.Header.Get("If-None-Match"), hash) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	b, err := h.document(name, media)
	if err != nil {
		h.fail(w, err)
		return
	}
	header.Set("Content-Type", media)
	h.send(w, r, b)
}

// send writes a compressed document, unpacked for who does not read gzip.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, b []byte) {
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		if r.Method == http.MethodGet {
			w.Write(b) // an error means that the client is gone
		}
		return
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		h.fail(w, err)
		return
	}
	if r.Method == http.MethodGet {
		io.Copy(w, z) // an error means that the client is gone
	}
}

// wanted picks JSON or protobuf; clients write the latter in two ways.
func wanted(accept, protobuf string) (string, bool) {
	if accept == "" {
		return mediaJSON, true
	}
	for part := range strings.SplitSeq(accept, ",") {
		media, _, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			media, _, _ = strings.Cut(strings.TrimSpace(part), ";")
		}
		switch strings.ReplaceAll(media, "@", ".") {
		case mediaJSON, "*/*", "application/*":
			return mediaJSON, true
		case protobuf:
			return protobuf, true
		}
	}
	return "", false
}

// document makes a document, or gives the one kept.
func (h *Handler) document(name, media string) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := name + " " + media
	if b, ok := h.kept[key]; ok {
		return b, nil
	}
	var b []byte
	var err error
	if name == "" {
		b, err = h.catalog.v2()
	} else {
		b, err = h.catalog.v3(h.byPath[name])
	}
	if err == nil && media != mediaJSON {
		b, err = toProtobuf(b, media)
	}
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	h.kept[key] = out.Bytes()
	return h.kept[key], nil
}

func toProtobuf(b []byte, media string) ([]byte, error) {
	var m proto.Message
	var err error
	if media == mediaV2 {
		m, err = openapi_v2.ParseDocument(b)
	} else {
		m, err = openapi_v3.ParseDocument(b)
	}
	if err != nil {
		return nil, fmt.Errorf("turn the OpenAPI document into protobuf: %w", err)
	}
	return proto.Marshal(m)
}

func (h *Handler) fail(w http.ResponseWriter, err error) {
	h.log.Error("serve OpenAPI", "error", err)
	http.Error(w, "the OpenAPI document cannot be made", http.StatusInternalServerError)
}
