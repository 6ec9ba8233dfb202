// Package crilog is the line format of container logs as the Container Runtime
// Interface defines it:
//
//	2026-01-02T15:04:05.123456789Z stdout F a whole line
//	2026-01-02T15:04:05.123456789Z stderr P the first part of a longer one
//
// A line that is longer than MaxLine, or that ends without a newline, is
// written in parts: every part but the last has the tag P.
package crilog

import (
	"bytes"
	"time"
)

// MaxLine is the longest text of one entry, in bytes.
const MaxLine = 16 << 10

// timeLayout keeps all nine digits, so that entries of a stream sort as text.
const timeLayout = "2006-01-02T15:04:05.000000000Z07:00"

// Stream is the word for the stream an entry came from.
type Stream string

const (
	// Stdout is standard output, and both streams of a terminal.
	Stdout Stream = "stdout"
	// Stderr is standard error.
	Stderr Stream = "stderr"
)

// Append adds one entry to dst. text has no newline.
func Append(dst []byte, at time.Time, stream Stream, partial bool, text []byte) []byte {
	dst = AppendPrefix(dst, at, stream)
	return appendText(dst, partial, text)
}

// AppendPrefix adds what is the same for all entries of one read: time and stream.
func AppendPrefix(dst []byte, at time.Time, stream Stream) []byte {
	dst = at.UTC().AppendFormat(dst, timeLayout)
	dst = append(dst, ' ')
	dst = append(dst, stream...)
	return append(dst, ' ')
}

func appendText(dst []byte, partial bool, text []byte) []byte {
	tag := byte('F')
	if partial {
		tag = 'P'
	}
	dst = append(dst, tag, ' ')
	dst = append(dst, text...)
	return append(dst, '\n')
}

// Encode adds the entries of data, which may hold several lines, to dst. It
// returns the text behind the last newline as rest: the caller puts it before
// the next data, or ends it with Append. rest is always shorter than MaxLine.
func Encode(dst []byte, at time.Time, stream Stream, data []byte) (out, rest []byte) {
	var prefixBytes [64]byte
	prefix := AppendPrefix(prefixBytes[:0], at, stream)
	for {
		end := bytes.IndexByte(data, '\n')
		switch {
		case end < 0 && len(data) < MaxLine:
			return dst, data
		case end < 0 || end > MaxLine:
			dst = appendText(append(dst, prefix...), true, data[:MaxLine])
			data = data[MaxLine:]
		default:
			dst = appendText(append(dst, prefix...), false, data[:end])
			data = data[end+1:]
		}
	}
}

// Split returns the part of data that Encode makes entries of, and what it
// returns as rest.
func Split(data []byte) (lines, rest []byte) {
	end := bytes.LastIndexByte(data, '\n') + 1
	end += (len(data) - end) / MaxLine * MaxLine
	return data[:end], data[end:]
}
