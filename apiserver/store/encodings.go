package store

import "sync/atomic"

// Format is a wire form of an object: a media type and an API version, as the
// REST room numbers them.
type Format uint8

// maxFormats bounds the slots that an entry keeps.
const maxFormats = 4

// encodings holds the encoded forms of one entry, each made once and shared by
// every list and watcher that wants it.
type encodings struct {
	slots [maxFormats]atomic.Pointer[[]byte]
}

// Encoded returns the entry's form, making it with encode on first use. Two
// callers at once may both encode; one result is kept. Formats from maxFormats
// on are not kept.
func (e *Entry) Encoded(f Format, encode func(*Entry) ([]byte, error)) ([]byte, error) {
	if int(f) >= maxFormats {
		return encode(e)
	}
	if b := e.encodings.slots[f].Load(); b != nil {
		return *b, nil
	}
	b, err := encode(e)
	if err != nil {
		return nil, err
	}
	e.encodings.slots[f].CompareAndSwap(nil, &b)
	return *e.encodings.slots[f].Load(), nil
}
