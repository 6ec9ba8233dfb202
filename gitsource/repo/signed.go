package repo

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Signed is an object with its signature and what was signed.
type Signed struct {
	Payload   []byte
	Signature string // armored; empty: it is not signed
}

// SignedCommit gives a commit's signature and the bytes that it is over.
func (r *Repository) SignedCommit(id ID) (*Signed, error) {
	r.mu.Lock()
	_, content, err := r.read(plumbing.CommitObject, id, MaxBlob)
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	head, body, _ := bytes.Cut(content, []byte("\n\n"))
	var payload bytes.Buffer
	var signature strings.Builder
	signatures, inside, other := 0, false, false
	for line := range strings.SplitAfterSeq(string(head)+"\n", "\n") {
		switch {
		case strings.HasPrefix(line, " ") && inside:
			signature.WriteString(line[1:])
			continue
		case strings.HasPrefix(line, " ") && other:
			continue
		}
		rest, ours := strings.CutPrefix(line, "gpgsig ")
		inside, other = ours, strings.HasPrefix(line, "gpgsig-sha256 ")
		switch {
		case ours:
			signatures++
			signature.WriteString(rest)
		case !other:
			payload.WriteString(line)
		}
	}
	if signatures > 1 {
		return nil, fmt.Errorf("commit %s has %d signatures", id, signatures)
	}
	payload.WriteByte('\n')
	payload.Write(body)
	return &Signed{Payload: payload.Bytes(), Signature: signature.String()}, nil
}

// SignedTag gives the signature of the annotated tag under a full reference
// name, which must be what the tag calls itself, and must be of the commit: a
// tag that was signed as another version says nothing about this one.
func (r *Repository) SignedTag(name string, commit ID) (*Signed, error) {
	tip, err := r.Tip(name)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	kind, content, err := r.read(plumbing.AnyObject, tip, MaxBlob)
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if kind != plumbing.TagObject {
		return &Signed{}, nil // a lightweight one
	}
	head, _, _ := bytes.Cut(content, []byte("\n\n"))
	fields := map[string]string{}
	for line := range strings.SplitSeq(string(head), "\n") {
		key, value, _ := strings.Cut(line, " ")
		if _, twice := fields[key]; !twice {
			fields[key] = value
		}
	}
	if tagPrefix+fields["tag"] != name {
		return nil, fmt.Errorf("the tag under %s was made as %q", name, shorten(fields["tag"]))
	}
	if fields["object"] != commit.String() {
		return nil, errors.New("the tag is of something else than the commit")
	}
	at := max(bytes.LastIndex(content, []byte("\n-----BEGIN PGP SIGNATURE-----")), bytes.LastIndex(content, []byte("\n-----BEGIN SSH SIGNATURE-----")))
	if at < 0 {
		return &Signed{Payload: content}, nil
	}
	return &Signed{Payload: content[:at+1], Signature: string(content[at+1:])}, nil
}
