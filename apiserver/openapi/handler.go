package openapi

import (
	"bytes"
	"compress/gzip"
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
	kinds   []*kind.Kind
	custom  kind.Source
	extra   map[schema.GroupVersion][]metav1.APIResource
	scheme  *runtime.Scheme
	version string
	log     *slog.Logger

	mu    sync.Mutex // guards all below, and makes documents one at a time
	state *state
	fixed map[schema.GroupVersion]string // hashes of the versions that never change
}

// New prepares the handler; it reads no schemas yet. version is the server's
// version as the documents show it. custom may be nil.
func New(kinds []*kind.Kind, custom kind.Source, extra map[schema.GroupVersion][]metav1.APIResource, scheme *runtime.Scheme, version string, log *slog.Logger) (*Handler, error) {
	h := &Handler{kinds: kinds, custom: custom, extra: extra, scheme: scheme, version: version, log: log, fixed: map[schema.GroupVersion]string{}}
	if _, err := newCatalog(kinds, extra, scheme, version); err != nil {
		return nil, err
	}
	return h, nil
}

// current gives the state of now with its hashes. What it gives is read only
// under the mutex, but for hashes, byPath and index, which never change.
func (h *Handler) current() (*state, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, err := h.now()
	if err != nil {
		return nil, err
	}
	return s, h.prepare(s)
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Trim(r.URL.Path, "/")
	rest, v3 := strings.CutPrefix(path, "openapi/v3")
	name := strings.Trim(rest, "/")
	s, err := h.current()
	if err != nil {
		h.fail(w, err)
		return
	}
	_, known := s.byPath[name]
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
	case v3 && name == "":
		h.serveIndex(w, r, s)
	case v3 && known:
		h.serveDocument(w, r, s, name, mediaV3)
	case path == "openapi/v2":
		h.serveDocument(w, r, s, "", mediaV2)
	default:
		http.NotFound(w, r)
	}
}

func (h *Handler) serveIndex(w http.ResponseWriter, r *http.Request, s *state) {
	w.Header().Set("Content-Type", mediaJSON)
	w.Header().Set("ETag", `"`+s.hashes[""]+`"`)
	if strings.Contains(r.Header.Get("If-None-Match"), s.hashes[""]) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if r.Method == http.MethodGet {
		w.Write(s.index) // an error means that the client is gone
	}
}

// serveDocument answers with a document in JSON or in the given protobuf form.
func (h *Handler) serveDocument(w http.ResponseWriter, r *http.Request, s *state, name, protobuf string) {
	media, ok := wanted(r.Header.Get("Accept"), protobuf)
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	hash, header := s.hashes[name], w.Header()
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
	b, err := h.document(s, name, media)
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
func (h *Handler) document(s *state, name, media string) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := name + " " + media + " " + s.hashes[name]
	if b, ok := s.kept[key]; ok {
		return b, nil
	}
	var b []byte
	var err error
	if name == "" {
		b, err = s.catalog.v2()
	} else {
		b, err = s.catalog.v3(s.byPath[name])
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
	s.kept[key] = out.Bytes()
	return s.kept[key], nil
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
