package repo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// The packets of git's protocols that carry nothing but their meaning.
const (
	flushPacket = "0000"
	delimPacket = "0001"
)

// maxPacket is the largest that the protocol allows, with its length.
const maxPacket = 65520

// packet is one line of the protocol.
type packet struct {
	kind packetKind
	text []byte // of data; without a newline at its end
}

type packetKind int8

const (
	packetData packetKind = iota
	packetFlush
	packetDelim
	packetEnd // of a response
)

// readPacket reads one packet, and not a byte more.
func readPacket(from io.Reader) (packet, error) {
	var head [4]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return packet{}, unexpected(err)
	}
	n, err := packetSize(head[:])
	switch {
	case err != nil:
		return packet{}, err
	case n < 3:
		return packet{kind: packetKind(n + 1)}, nil
	case n < 4 || n > maxPacket:
		return packet{}, fmt.Errorf("the remote sent a packet of %d bytes", n)
	}
	text := make([]byte, n-4)
	if _, err := io.ReadFull(from, text); err != nil {
		return packet{}, unexpected(err)
	}
	if words, ok := bytes.CutPrefix(text, []byte("ERR ")); ok {
		return packet{}, fmt.Errorf("the remote says %q", cut(string(bytes.TrimSpace(words)), maxQuote))
	}
	return packet{text: bytes.TrimSuffix(text, []byte("\n"))}, nil
}

func packetSize(head []byte) (int, error) {
	n, err := strconv.ParseUint(string(head), 16, 16)
	if err != nil {
		return 0, errors.New("the remote does not speak git's protocol")
	}
	return int(n), nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// peekPacket shows the data packet that begins at an offset of what is to be
// read, and where the one after it begins. Nothing is waited for beyond it.
func peekPacket(from *bufio.Reader, at int) (text []byte, next int, err error) {
	head, err := from.Peek(at + 4)
	if err != nil {
		return nil, 0, err
	}
	n, err := packetSize(head[at:])
	if err != nil || n < 4 || at+n > from.Size() {
		return nil, at + 4, nil // of no interest
	}
	all, err := from.Peek(at + n)
	if err != nil {
		return nil, 0, err
	}
	return bytes.TrimSuffix(all[at+4:], []byte("\n")), at + n, nil
}

func writePacket(to *bytes.Buffer, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(to, "%04x%s", len(text)+4, text)
}
