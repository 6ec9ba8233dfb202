package emulator

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent/crilog"
)

// output is a container's log in CRI format and whoever is attached to it.
type output struct {
	clock clock.Clock

	mu       sync.Mutex // guards all below
	file     *os.File
	rest     map[crilog.Stream][]byte
	attached map[*attachment]struct{}
}

type attachment struct{ stdout, stderr io.Writer }

func openOutput(path string, clk clock.Clock) (*output, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &output{clock: clk, file: file}, nil
}

type outputWriter struct {
	out    *output
	stream crilog.Stream
}

func (o *output) stdout() io.Writer { return outputWriter{o, crilog.Stdout} }

func (o *output) stderr(tty bool) io.Writer {
	if tty {
		return o.stdout()
	}
	return outputWriter{o, crilog.Stderr}
}

// Write implements io.Writer.
func (w outputWriter) Write(data []byte) (int, error) {
	o := w.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for a := range o.attached {
		to := a.stdout
		if w.stream == crilog.Stderr {
			to = a.stderr
		}
		if _, err := to.Write(data); err != nil {
			delete(o.attached, a) // an attached client that left is no error of the program
		}
	}
	if o.file == nil {
		return len(data), nil
	}
	if o.rest == nil {
		o.rest = map[crilog.Stream][]byte{}
	}
	lines, rest := crilog.Encode(nil, o.clock.Now(), w.stream, append(o.rest[w.stream], data...))
	o.rest[w.stream] = rest
	_, err := o.file.Write(lines)
	return len(data), err
}

func (o *output) attach(stdout, stderr io.Writer) (detach func()) {
	a := &attachment{stdout, stderr}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.attached == nil {
		o.attached = map[*attachment]struct{}{}
	}
	o.attached[a] = struct{}{}
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.attached, a)
	}
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil {
		return
	}
	for stream, rest := range o.rest {
		if len(rest) > 0 {
			// The log is a test's; one that cannot be written shows as missing text.
			_, _ = o.file.Write(crilog.Append(nil, o.clock.Now(), stream, true, rest))
		}
	}
	_ = o.file.Close() // written without buffering
	o.file = nil
}

// stdin is the first process's input: empty unless the container asks for it,
// then what attached clients send.
type stdin struct {
	once bool
	r    *io.PipeReader
	w    *io.PipeWriter
}

func newStdin(open, once bool) *stdin {
	s := &stdin{once: once}
	s.r, s.w = io.Pipe()
	if !open {
		s.end()
	}
	return s
}

func (s *stdin) Read(p []byte) (int, error) { return s.r.Read(p) }

func (s *stdin) copyFrom(from io.Reader) {
	_, err := io.Copy(s.w, from)
	if s.once && !errors.Is(err, io.ErrClosedPipe) {
		s.end()
	}
}

// end lets the program read the end of its input.
func (s *stdin) end() { _ = s.w.Close() } // never fails

// close is for a program that has ended: writing to it fails.
func (s *stdin) close() {
	s.end()
	_ = s.r.Close() // never fails
}

func orEmpty(r io.Reader) io.Reader {
	if r == nil {
		return strings.NewReader("")
	}
	return r
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
