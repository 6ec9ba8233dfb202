package hosted

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/headway-sh/headway/gitsource/repo"
)

const (
	maxRequest = 1 << 20
	maxWants   = 10_000
	maxHaves   = 20_000
	maxPacket  = 65_520
)

// request is what a client wants of upload-pack.
type request struct {
	capabilities []string
	wants        []repo.ID
	haves        []line
}

// line is a commit that the client has, or the end of a round.
type line struct {
	have repo.ID // zero: a flush
	done bool
}

func (q *request) can(capability string) bool { return slices.Contains(q.capabilities, capability) }

// read takes in a request's body.
func read(w http.ResponseWriter, r *http.Request) (*request, error) {
	if r.Header.Get("Content-Type") != "application/x-"+uploadPack+"-request" {
		return nil, errors.New("the body is no request for " + uploadPack)
	}
	var body io.Reader = http.MaxBytesReader(w, r.Body, maxRequest)
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "":
	case "gzip", "x-gzip":
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return nil, fmt.Errorf("read the request: %w", err)
		}
		body = unzipped
	default:
		return nil, fmt.Errorf("the encoding %q is not understood", encoding)
	}
	return parse(io.LimitReader(body, 4*maxRequest))
}

// parse reads a request for upload-pack as gitprotocol-pack has it: what is
// wanted, then what the client has.
func parse(body io.Reader) (*request, error) {
	in, out := bufio.NewReader(body), &request{}
	for wanting := true; ; {
		text, flush, err := packet(in)
		switch {
		case errors.Is(err, io.EOF) && len(out.wants) > 0:
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("read the request: %w", err)
		case flush && wanting && len(out.wants) == 0:
			return nil, errors.New("nothing is wanted")
		case flush && wanting:
			wanting = false
		case flush:
			out.haves = append(out.haves, line{})
		case wanting:
			err = out.want(text)
		default:
			err = out.have(text)
		}
		if err != nil {
			return nil, err
		}
		if n := len(out.haves); n > 0 && out.haves[n-1].done {
			return out, nil
		}
		if len(out.wants) > maxWants || len(out.haves) > maxHaves {
			return nil, errors.New("too much is asked for at once")
		}
	}
}

func (q *request) want(text string) error {
	words := strings.Fields(text)
	if len(words) < 2 {
		return fmt.Errorf("%q is not understood", short(text))
	}
	switch words[0] {
	case "want":
		id, err := repo.ParseID(words[1])
		if err != nil {
			return fmt.Errorf("%q is not understood", short(text))
		}
		if len(q.wants) == 0 {
			q.capabilities = words[2:]
		}
		q.wants = append(q.wants, id)
		return nil
	case "shallow", "deepen", "deepen-since", "deepen-not", "filter":
		return errors.New("shallow and partial clones are not served: leave out --depth and --filter")
	}
	return fmt.Errorf("%q is not understood", short(text))
}

func (q *request) have(text string) error {
	if text == "done" {
		q.haves = append(q.haves, line{done: true})
		return nil
	}
	word, hex, _ := strings.Cut(text, " ")
	id, err := repo.ParseID(hex)
	if word != "have" || err != nil || id.IsZero() {
		return fmt.Errorf("%q is not understood", short(text))
	}
	q.haves = append(q.haves, line{have: id})
	return nil
}

func short(s string) string { return s[:min(len(s), 60)] }

// packet reads one packet line, without the end of its line.
func packet(in *bufio.Reader) (text string, flush bool, err error) {
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return "", false, err
	}
	size, err := strconv.ParseUint(string(head[:]), 16, 16)
	switch {
	case err != nil || size > maxPacket || size > 0 && size < 4:
		return "", false, fmt.Errorf("%q is no length of a packet", head)
	case size == 0:
		return "", true, nil
	}
	content := make([]byte, size-4)
	if _, err := io.ReadFull(in, content); err != nil {
		return "", false, io.ErrUnexpectedEOF
	}
	return strings.TrimSuffix(string(content), "\n"), false, nil
}
