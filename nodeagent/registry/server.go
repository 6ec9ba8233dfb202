package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

const (
	// updatedHeader says since when, in nanoseconds, a node has given a tag to
	// what it serves.
	updatedHeader = "Headway-Updated"
	digestHeader  = "Docker-Content-Digest"
	namespace     = "ns"
)

// ErrNotServed says that a node has no such image or blob, or gives it to nobody.
var ErrNotServed = errors.New("not served by this node")

// Blob is content that can be read at any place. Close has to be called.
type Blob interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Store is what a node serves of its images: those that anybody may have.
type Store interface {
	// Tag finds an image by its full name, and since when it has it.
	Tag(ctx context.Context, ref string) (ocispec.Descriptor, time.Time, error)
	// Find finds a manifest or blob of the images that are served.
	Find(ctx context.Context, d digest.Digest) (ocispec.Descriptor, error)
	// Open reads what Find has found.
	Open(ctx context.Context, blob ocispec.Descriptor) (Blob, error)
}

// Server is the read-only half of the OCI distribution API. Who may ask, the one
// who mounts it has to decide.
type Server struct {
	Store  Store
	Logger *slog.Logger
}

// ServeHTTP serves what is below /v2/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read only")
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "there is nothing here")
	case path == "":
		w.WriteHeader(http.StatusOK)
	default:
		s.content(w, r, path)
	}
}

func (s *Server) content(w http.ResponseWriter, r *http.Request, path string) {
	name, kind, ok := Split(path)
	if !ok {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "there is nothing here")
		return
	}
	unknown, reference := "BLOB_UNKNOWN", path[len(name)+len(kind):]
	if kind == manifests {
		unknown = "MANIFEST_UNKNOWN"
	}
	blob, updated, err := s.find(r, name, reference, kind == manifests)
	if err == nil {
		err = s.send(w, r, blob, updated)
	}
	switch {
	case errors.Is(err, ErrNotServed):
		refuse(w, http.StatusNotFound, unknown, reference+" is not served by this node")
	case err != nil:
		s.Logger.Warn("image not served", "image", name, "reference", reference, "err", err)
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "it could not be read")
	}
}

// What a path below a repository's name begins with.
const (
	manifests = "/manifests/"
	blobs     = "/blobs/"
)

// Split parts the path of a manifest or blob into the repository's name and what
// follows it. Names may have the same words: the last of them counts.
func Split(path string) (name, kind string, ok bool) {
	at, kind := strings.LastIndex(path, manifests), manifests
	if other := strings.LastIndex(path, blobs); other > at {
		at, kind = other, blobs
	}
	if at <= 0 {
		return "", "", false
	}
	return path[:at], kind, true
}

func (s *Server) find(r *http.Request, name, reference string, manifest bool) (ocispec.Descriptor, time.Time, error) {
	if d, err := digest.Parse(reference); err == nil {
		blob, err := s.Store.Find(r.Context(), d)
		return blob, time.Time{}, err
	}
	if host := r.URL.Query().Get(namespace); host != "" {
		name = host + "/" + name
	}
	full, err := runtime.NormalizeReference(name + ":" + reference)
	if err != nil || !manifest {
		return ocispec.Descriptor{}, time.Time{}, ErrNotServed
	}
	return s.Store.Tag(r.Context(), full)
}

func (s *Server) send(w http.ResponseWriter, r *http.Request, found ocispec.Descriptor, updated time.Time) error {
	blob, err := s.Store.Open(r.Context(), found)
	if err != nil {
		return err
	}
	defer blob.Close()
	h := w.Header()
	h.Set("Content-Type", found.MediaType)
	h.Set(digestHeader, found.Digest.String())
	h.Set("Etag", strconv.Quote(found.Digest.String()))
	if !updated.IsZero() {
		h.Set(updatedHeader, strconv.FormatInt(updated.UnixNano(), 10))
	}
	http.ServeContent(w, r, "", time.Time{}, &reader{blob: blob})
	return nil
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	_ = json.NewEncoder(w).Encode(map[string][]one{"errors": {{code, message}}}) // the client is gone
}

// readAhead is how much is read at once: each reading is a call to the runtime.
const readAhead = 1 << 20

// reader reads a blob from anywhere in large pieces.
type reader struct {
	blob   Blob
	at     int64  // where Read goes on
	buffer []byte // what is there from start on
	start  int64
}

// Seek implements io.Seeker.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.blob.Size()
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	r.at = offset
	return offset, nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.at >= r.blob.Size() {
		return 0, io.EOF
	}
	if r.at < r.start || r.at >= r.start+int64(len(r.buffer)) {
		r.buffer = make([]byte, min(readAhead, r.blob.Size()-r.at))
		n, err := r.blob.ReadAt(r.buffer, r.at)
		if n == 0 && err != nil {
			r.buffer = nil
			return 0, err
		}
		r.buffer, r.start = r.buffer[:n], r.at
	}
	n := copy(p, r.buffer[r.at-r.start:])
	r.at += int64(n)
	return n, nil
}
