package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options say which part of a log is wanted (API reference, PodLogOptions).
type Options struct {
	// Follow goes on after the end until Ended is closed and all is read.
	Follow bool
	// Tail is how many lines from the end; negative means all.
	Tail int64
	// Since leaves out what is older.
	Since      time.Time
	Timestamps bool
	// Stream is the one stream that is wanted; empty: both, as they came.
	Stream Stream
	// Limit is how many bytes at most; 0 means all.
	Limit int64
	// Ended is closed when nothing will be written any more; nil if so already.
	Ended <-chan struct{}
}

// Stream is one of a container's two.
type Stream string

// The streams of a container's output.
const (
	Stdout Stream = "Stdout"
	Stderr Stream = "Stderr"
)

// errLimit ends a read whose limit is used up.
var errLimit = errors.New("limit of bytes is reached")

// Read writes a log with what was rotated away from it. It returns when all is
// written, or ctx ends.
func Read(ctx context.Context, path string, o Options, stdout, stderr io.Writer) error {
	r := &reader{Options: o, path: path, stdout: stdout, stderr: stderr, left: o.Limit, fresh: true}
	defer func() {
		if r.file != nil {
			r.file.Close()
		}
	}()
	var err error
	if o.Follow && o.Ended != nil {
		err = r.follow(ctx)
	} else {
		err = r.all(ctx)
	}
	if errors.Is(err, errLimit) || errors.Is(err, context.Canceled) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

type reader struct {
	Options
	path           string
	stdout, stderr io.Writer
	left           int64
	fresh          bool // at the start of a line
	file           *os.File
	buffer         *bufio.Reader
	rest           []byte // of a line that is not whole yet
}

// all reads what there is, the oldest file first; the last stays open.
func (r *reader) all(ctx context.Context) error {
	files, err := r.files()
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range files {
			if f != r.file {
				f.Close()
			}
		}
	}()
	starts := make([]int64, len(files))
	if r.Tail >= 0 {
		left := r.Tail
		for i, f := range slices.Backward(files) {
			if starts[i], err = lineStart(f, left); err != nil {
				return err
			}
			lines, err := countLines(f, starts[i])
			if err != nil {
				return err
			}
			left = max(left-lines, 0)
		}
	}
	for i, f := range files {
		if _, err := f.Seek(starts[i], io.SeekStart); err != nil {
			return err
		}
		r.open(f)
		if err := r.drain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// files opens the log and what was rotated away, the oldest first.
func (r *reader) files() ([]*os.File, error) {
	old, err := filepath.Glob(escape.Replace(r.path) + ".*")
	if err != nil {
		return nil, err
	}
	slices.Sort(old)
	var files []*os.File
	for _, path := range append(old, r.path) {
		f, err := os.Open(path)
		if os.IsNotExist(err) {
			continue // rotated away or not written yet
		}
		if err != nil {
			return nil, err
		}
		// Rotation between the listing and here makes one file appear twice.
		if n := len(files); n > 0 && sameFile(files[n-1], f) {
			f.Close()
			continue
		}
		files = append(files, f)
	}
	if len(files) == 0 && r.Ended == nil {
		return nil, os.ErrNotExist
	}
	return files, nil
}

var escape = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)

func (r *reader) open(f *os.File) {
	r.file, r.buffer, r.rest = f, bufio.NewReaderSize(f, block), nil
}

// follow reads what there is and then what comes, through rotations.
func (r *reader) follow(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	if err := watcher.Add(filepath.Dir(r.path)); err != nil {
		return err
	}
	if err := r.all(ctx); err != nil {
		return err
	}
	for ended := false; ; {
		if err := r.step(ctx); err != nil || ended {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.Ended:
			ended = true // once more: what was written before the end
		case _, ok := <-watcher.Events:
			if !ok {
				return nil
			}
		case err, ok := <-watcher.Errors:
			// A full queue has lost events and not the file's content.
			if !ok || !errors.Is(err, fsnotify.ErrEventOverflow) {
				return err
			}
		}
	}
}

// step reads to the end of the file and, if that was rotated away, of those
// that came after it.
func (r *reader) step(ctx context.Context) error {
	for {
		if r.file != nil {
			if err := r.drain(ctx); err != nil {
				return err
			}
		}
		next, err := os.Open(r.path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.file != nil && sameFile(r.file, next) {
			return next.Close()
		}
		if r.file != nil {
			// What was written between the end just seen and the rotation.
			if err := errors.Join(r.drain(ctx), r.file.Close()); err != nil {
				return errors.Join(err, next.Close())
			}
		}
		r.open(next)
	}
}

// drain writes the whole lines that there are.
func (r *reader) drain(ctx context.Context) error {
	for {
		line, err := r.buffer.ReadBytes('\n')
		r.rest = append(r.rest, line...)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		line, r.rest = r.rest[:len(r.rest)-1], nil
		if err := r.emit(line); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (r *reader) emit(line []byte) error {
	e, ok := parse(line)
	if !ok || e.at.Before(r.Since) || r.Stream != "" && e.stderr != (r.Stream == Stderr) {
		return nil
	}
	var out []byte
	if r.Timestamps && r.fresh {
		out = append(append(out, e.stamp...), ' ')
	}
	out = append(out, e.text...)
	if r.fresh = !e.partial; r.fresh {
		out = append(out, '\n')
	}
	limited := r.Limit > 0 && int64(len(out)) >= r.left
	if limited {
		out = out[:r.left]
	}
	r.left -= int64(len(out))
	to := r.stdout
	if e.stderr {
		to = r.stderr
	}
	if _, err := to.Write(out); err != nil {
		return err
	}
	if limited {
		return errLimit
	}
	return nil
}

func sameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}
