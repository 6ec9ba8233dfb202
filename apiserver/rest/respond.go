package rest

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// smallAnswer is what the server takes without waiting for the client.
const smallAnswer = 2 << 10

// gzipFrom is the size from which answers are compressed: below it a network
// that is near loses more by waiting than it wins.
const gzipFrom = 128 << 10

var gzipWriters = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// acceptsGzip tells whether the client reads gzip.
func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name == "gzip" || name == "*" {
			return strings.ReplaceAll(params, " ", "") != "q=0"
		}
	}
	return false
}

// answerBytes writes a whole answer, compressed when it is large.
func (h *Handler) answerBytes(w http.ResponseWriter, r *http.Request, code int, media string, b []byte) {
	h.answerParts(w, r, code, media, [][]byte{b})
}

// answerParts writes an answer that lies in several pieces of memory.
func (h *Handler) answerParts(w http.ResponseWriter, r *http.Request, code int, media string, parts [][]byte) {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	if total > smallAnswer {
		guard := newStallGuard(http.NewResponseController(w), h.RequestTimeout)
		guard.begin()
		defer guard.end()
	}
	header := w.Header()
	header.Set("Content-Type", media)
	header.Set("Cache-Control", "no-cache, private")
	header.Set("Vary", "Accept, Accept-Encoding")
	if total < gzipFrom || !acceptsGzip(r) {
		header.Set("Content-Length", strconv.Itoa(total))
		w.WriteHeader(code)
		if r.Method == http.MethodHead {
			return
		}
		writeParts(w, parts)
		return
	}
	header.Set("Content-Encoding", "gzip")
	w.WriteHeader(code)
	if r.Method == http.MethodHead {
		return
	}
	z := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(z)
	z.Reset(w)
	if writeParts(z, parts) {
		z.Close() // an error means that the client is gone
	}
}

// writeParts writes until the client is gone; small parts go out together.
func writeParts(w io.Writer, parts [][]byte) bool {
	if len(parts) == 1 {
		_, err := w.Write(parts[0])
		return err == nil
	}
	pooled := answerBuffers.Get().(*[]byte)
	defer answerBuffers.Put(pooled)
	buffer := (*pooled)[:0]
	for _, p := range parts {
		if len(buffer)+len(p) > cap(buffer) {
			if _, err := w.Write(buffer); err != nil {
				return false
			}
			buffer = buffer[:0]
			if len(p) > cap(buffer) {
				if _, err := w.Write(p); err != nil {
					return false
				}
				continue
			}
		}
		buffer = append(buffer, p...)
	}
	_, err := w.Write(buffer)
	return err == nil
}

var answerBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 64<<10)
	return &b
}}
