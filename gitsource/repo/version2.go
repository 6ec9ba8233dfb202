package repo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// The library speaks version 0 of the protocol, in which a remote begins with
// all of its references. In version 2 (gitprotocol-v2) it is asked for those
// that are wanted; what is asked and answered is here, and the two transports
// carry it. A remote that does not know of it answers as in version 0.
//
//	version 2, capabilities ◄─
//	                         ─► ls-refs with prefixes
//	references              ◄─
//	                         ─► fetch, when one has moved: want, have, done
//	packfile                ◄─

// askVersion2 is the header, or over ssh the variable, that asks for it.
const (
	versionHeader   = "Git-Protocol"
	versionVariable = "GIT_PROTOCOL"
	version2        = "version=2"
)

// server2 is what a server has said of itself.
type server2 struct {
	sha1 bool // it wants to hear of the object format
}

// speaks2 tells whether an answer begins as in version 2, and then passes over
// what https puts in front.
func speaks2(from *bufio.Reader) (bool, error) {
	text, next, err := peekPacket(from, 0)
	if err == nil && bytes.HasPrefix(text, []byte("# service=")) {
		// A flush packet follows.
		text, _, err = peekPacket(from, next+len(flushPacket))
		next += len(flushPacket)
	} else {
		next = 0
	}
	if errors.Is(err, io.EOF) || err == nil && string(text) != "version 2" {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = from.Discard(next)
	return true, err
}

// readServer2 reads the capabilities, up to their end.
func readServer2(from io.Reader) (*server2, error) {
	s := &server2{}
	var commands []string
	for n := 0; ; n++ {
		p, err := readPacket(from)
		if err != nil {
			return nil, err
		}
		if p.kind != packetData {
			break
		}
		name, value, _ := strings.Cut(string(p.text), "=")
		switch {
		case n > 100:
			return nil, fmt.Errorf("the remote says too much of itself: %w", ErrTooLarge)
		case name == "object-format" && value != "sha1":
			return nil, fmt.Errorf("the repository has %s objects; only sha1 is known", cut(value, 20))
		case name == "object-format":
			s.sha1 = true
		}
		commands = append(commands, name)
	}
	for _, want := range []string{"ls-refs", "fetch"} {
		if !slices.Contains(commands, want) {
			return nil, fmt.Errorf("the remote speaks version 2 of git's protocol without %s", want)
		}
	}
	return s, nil
}

func (s *server2) command(name string) *bytes.Buffer {
	var b bytes.Buffer
	writePacket(&b, "command=%s\n", name)
	writePacket(&b, "agent=%s", capability.DefaultAgent())
	if s.sha1 {
		writePacket(&b, "object-format=sha1")
	}
	b.WriteString(delimPacket)
	return &b
}

// lsRefs asks for the references with one of the prefixes.
func (s *server2) lsRefs(prefixes []string) []byte {
	b := s.command("ls-refs")
	writePacket(b, "symrefs\n")
	for _, p := range prefixes {
		writePacket(b, "ref-prefix %s\n", p)
	}
	b.WriteString(flushPacket)
	return b.Bytes()
}

// readRefs reads the answer to lsRefs into what version 0 would have said. A
// remote may say more than it was asked for.
func readRefs(from io.Reader, most int) (*packp.AdvRefs, error) {
	adv := packp.NewAdvRefs()
	for _, c := range []capability.Capability{capability.Sideband64k, capability.OFSDelta} {
		if err := adv.Capabilities.Set(c); err != nil {
			return nil, err
		}
	}
	for {
		p, err := readPacket(from)
		if err != nil {
			return nil, err
		}
		if p.kind == packetFlush {
			return adv, nil
		}
		parts := strings.Split(string(p.text), " ")
		if p.kind != packetData || len(parts) < 2 {
			return nil, errors.New("the remote's list of references is not one")
		}
		if parts[0] == "unborn" {
			continue
		}
		id, err := ParseID(parts[0])
		if err != nil {
			return nil, fmt.Errorf("the remote's list of references: %w", err)
		}
		if parts[1] != plumbing.HEAD.String() {
			if adv.References[parts[1]] = plumbing.Hash(id); len(adv.References) > most {
				return nil, fmt.Errorf("it has more than %d references of those that are asked for: %w", most, ErrTooLarge)
			}
			continue
		}
		head := plumbing.Hash(id)
		adv.Head = &head
		for _, more := range parts[2:] {
			if target, ok := strings.CutPrefix(more, "symref-target:"); ok && invalidName(target) == nil {
				if err := adv.Capabilities.Add(capability.SymRef, "HEAD:"+target); err != nil {
					return nil, err
				}
			}
		}
	}
}

// fetch asks for objects.
func (s *server2) fetch(request *packp.UploadPackRequest) []byte {
	b := s.command("fetch")
	writePacket(b, "ofs-delta")
	for _, id := range request.Wants {
		writePacket(b, "want %s\n", id)
	}
	for _, id := range request.Haves {
		writePacket(b, "have %s\n", id)
	}
	writePacket(b, "done\n")
	b.WriteString(flushPacket)
	return b.Bytes()
}

// toPack reads the answer to fetch up to where the pack begins, in a side band.
func toPack(from io.Reader) error {
	p, err := readPacket(from)
	if err != nil {
		return err
	}
	if p.kind != packetData || string(p.text) != "packfile" {
		return fmt.Errorf("the remote sends %q where a pack was asked for", cut(string(p.text), 40))
	}
	return nil
}
