// Package discovery tells clients what is served: the legacy lists at /api,
// /apis and below, and the aggregated form (apidiscovery.k8s.io/v2) that newer
// clients get in one answer. Everything is encoded once from the kind table
// and answered from memory, with ETags.
package discovery

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/kind"
)

// Handler answers discovery requests.
type Handler struct {
	kinds  []*kind.Kind
	custom kind.Source
	extra  map[schema.GroupVersion][]metav1.APIResource

	mu        sync.Mutex // guards documents
	documents *documents
}

// documents are the answers as long as the kinds are the same.
type documents struct {
	version int64
	answers map[string]answer // legacy, by path without a slash at the end
	// core and groups are the aggregated documents of /api and /apis.
	core, groups answer
}

// answer is one document, ready to be sent.
type answer struct {
	body []byte
	etag string
}

// New makes the handler. custom are the kinds that come and go, nil where there
// are none; extra are resources that are served without being kinds, by group
// and version.
func New(kinds []*kind.Kind, custom kind.Source, extra map[schema.GroupVersion][]metav1.APIResource) (*Handler, error) {
	h := &Handler{kinds: kinds, custom: custom, extra: extra}
	if _, err := encodeAll(newCatalog(kinds, extra)); err != nil {
		return nil, err
	}
	return h, nil
}

// current gives the documents of the kinds that there are now.
func (h *Handler) current() (*documents, error) {
	var version int64
	rows := func() []*kind.Kind { return nil }
	if h.custom != nil {
		version, rows = h.custom()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.documents != nil && h.documents.version == version {
		return h.documents, nil
	}
	d, err := encodeAll(newCatalog(slices.Concat(h.kinds, rows()), h.extra))
	if err != nil {
		return nil, err
	}
	d.version = version
	h.documents = d
	return d, nil
}

// encodeAll encodes every document of a catalog.
func encodeAll(c *catalog) (*documents, error) {
	h := &documents{answers: map[string]answer{}}
	put := func(path string, o any) error {
		a, err := encode(o)
		if err != nil {
			return fmt.Errorf("encode %s: %w", path, err)
		}
		h.answers[path] = a
		return nil
	}
	if err := put("/api", &metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{}}); err != nil {
		return nil, err
	}
	if err := put("/apis", c.groupList()); err != nil {
		return nil, err
	}
	for _, g := range c.groups {
		if g.name != "" {
			if err := put("/apis/"+g.name, g.legacy()); err != nil {
				return nil, err
			}
		}
		for _, v := range g.versions {
			if err := put(v.path(), v.legacy()); err != nil {
				return nil, err
			}
		}
	}
	if err := put("", index(h.answers)); err != nil {
		return nil, err
	}
	var err error
	if h.core, err = encode(c.aggregated(true)); err != nil {
		return nil, fmt.Errorf("encode aggregated core: %w", err)
	}
	if h.groups, err = encode(c.aggregated(false)); err != nil {
		return nil, fmt.Errorf("encode aggregated groups: %w", err)
	}
	return h, nil
}

// index is the document at /: every path worth a look.
func index(answers map[string]answer) *metav1.RootPaths {
	paths := []string{"/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"}
	for path := range answers {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return &metav1.RootPaths{Paths: paths}
}

func encode(o any) (answer, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return answer{}, err
	}
	sum := sha256.Sum256(b)
	return answer{body: append(b, '\n'), etag: `"` + strings.ToUpper(hex.EncodeToString(sum[:])) + `"`}, nil
}

// aggregatedType is the content type of the aggregated form.
const aggregatedType = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// ServeHTTP answers one request; paths that are no discovery documents are 404.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	d, err := h.current()
	if err != nil {
		http.Error(w, "the documents cannot be made", http.StatusInternalServerError)
		return
	}
	a, ok := d.answers[path]
	media := "application/json"
	if (path == "/api" || path == "/apis") && wantsAggregated(r.Header.Get("Accept")) {
		a, ok, media = d.core, true, aggregatedType
		if path == "/apis" {
			a = d.groups
		}
	}
	if !ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintln(w, "404 page not found")
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	header := w.Header()
	header.Set("Vary", "Accept")
	header.Set("ETag", a.etag)
	header.Set("Cache-Control", "public")
	header.Set("Content-Type", media)
	if strings.Contains(r.Header.Get("If-None-Match"), a.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if r.Method == http.MethodGet {
		w.Write(a.body) // an error means that the client is gone
	}
}

// wantsAggregated tells whether the aggregated form is what the client would
// rather have: the first alternative of JSON decides.
func wantsAggregated(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil || media != "application/json" {
			continue
		}
		if params["as"] == "" {
			return false
		}
		if params["as"] == "APIGroupDiscoveryList" && params["g"] == apidiscovery.GroupName && params["v"] == "v2" {
			return true
		}
	}
	return false
}

// sortedKeys are the group versions of a map, in order.
func sortedKeys(m map[schema.GroupVersion][]metav1.APIResource) []schema.GroupVersion {
	keys := make([]schema.GroupVersion, 0, len(m))
	for gv := range m {
		keys = append(keys, gv)
	}
	slices.SortFunc(keys, func(a, b schema.GroupVersion) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version))
	})
	return keys
}
