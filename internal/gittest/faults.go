package gittest

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Away says that the server is not there for a while.
func Away(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	http.Error(w, "gone fishing", http.StatusBadGateway)
}

// Empty is a repository without anything.
func Empty(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	advertise(w)
	_, _ = io.WriteString(w, pkt("# service=git-upload-pack\n")+"00000000")
}

// Stall sends the beginning of an answer and then nothing.
func Stall(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.Copy(io.Discard, r.Body) // only then the server sees that the client goes
	advertise(w)
	_, _ = io.WriteString(w, "001e# service=git-upload")
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// Redirect sends clients elsewhere.
func Redirect(to string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, to+r.URL.Path+"?"+r.URL.RawQuery, http.StatusFound)
	}
}

// ReadOnly takes no pushes, as of who may only read.
func ReadOnly(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if strings.HasSuffix(r.URL.Path, "/git-receive-pack") || r.URL.Query().Get("service") == "git-receive-pack" {
		http.Error(w, "you may only read", http.StatusForbidden)
		return
	}
	next.ServeHTTP(w, r)
}

// Busy asks clients to come back later.
func Busy(after string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", after)
		w.WriteHeader(http.StatusTooManyRequests)
	}
}

// Truncate ends every pack after n bytes of the answer.
func Truncate(n int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if pack, _ := asksForPack(r); pack {
			w = &short{ResponseWriter: w, left: n}
		}
		next.ServeHTTP(w, r)
	}
}

type short struct {
	http.ResponseWriter
	left int64
}

func (s *short) Write(p []byte) (int, error) {
	take := min(s.left, int64(len(p)))
	s.left -= take
	if _, err := s.ResponseWriter.Write(p[:take]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// RefFlood advertises references without end.
func RefFlood(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	advertise(w)
	_, _ = io.WriteString(w, pkt("# service=git-upload-pack\n")+"0000")
	id := strings.Repeat("a", 40)
	_, _ = io.WriteString(w, pkt(id+" HEAD\x00side-band-64k ofs-delta\n"))
	for n := 0; r.Context().Err() == nil; n++ {
		if _, err := io.WriteString(w, pkt(fmt.Sprintf("%s refs/heads/flood-%08d\n", id, n))); err != nil {
			return
		}
	}
}

// Bomb answers every request for a pack with a small one whose only object
// claims so many bytes and inflates to so many.
func Bomb(claims, size int64) Fault {
	bomb := bombPack(claims, size)
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		pack, two := asksForPack(r)
		if !pack {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		begin := "NAK\n"
		if two {
			begin = "packfile\n"
		}
		_, _ = io.WriteString(w, pkt(begin))
		for pack := bomb; len(pack) > 0; {
			n := min(len(pack), 60_000)
			_, _ = io.WriteString(w, pkt("\x01"+string(pack[:n])))
			pack = pack[n:]
		}
		_, _ = io.WriteString(w, "0000")
	}
}

func bombPack(claims, size int64) []byte {
	var b bytes.Buffer
	b.WriteString("PACK")
	_ = binary.Write(&b, binary.BigEndian, [2]uint32{2, 1})
	first, rest := byte(3<<4)|byte(claims&15), claims>>4
	for rest > 0 {
		b.WriteByte(first | 0x80)
		first, rest = byte(rest&127), rest>>7
	}
	b.WriteByte(first)
	z := zlib.NewWriter(&b)
	_, _ = io.CopyN(z, zeroes{}, size)
	_ = z.Close()
	sum := sha1.Sum(b.Bytes())
	return append(b.Bytes(), sum[:]...)
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func advertise(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
}

// asksForPack tells whether a request wants a pack, and whether in version 2 of
// the protocol.
func asksForPack(r *http.Request) (pack, two bool) {
	if !strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
		return false, false
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return false, false
	}
	r.Body = io.NopCloser(bytes.NewReader(content))
	two = bytes.Contains(content, []byte("command="))
	return !two || bytes.Contains(content, []byte("command=fetch")), two
}

// Version2 answers the first question with what a server says of itself, and
// every command with an answer, both as they are.
func Version2(server, answer string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/info/refs") {
			advertise(w)
			_, _ = io.WriteString(w, server)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, answer)
	}
}

func pkt(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
