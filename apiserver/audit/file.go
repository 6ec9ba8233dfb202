package audit

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// stamp names rotated files, so that their names sort by age.
const stamp = "2006-01-02T15-04-05.000"

// file is the log's file, opened when something is to be written.
type file struct {
	config *Config
	open   *os.File
	out    *bufio.Writer
	size   int64
}

func (f *file) append(line []byte) error {
	if f.open != nil && f.config.MaxSize > 0 && f.size+int64(len(line)) > f.config.MaxSize {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	if f.open == nil {
		if err := f.begin(); err != nil {
			return err
		}
	}
	n, err := f.out.Write(line)
	f.size += int64(n)
	return err
}

func (f *file) begin() error {
	if err := os.MkdirAll(filepath.Dir(f.config.Path), 0o700); err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	open, err := os.OpenFile(f.config.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	info, err := open.Stat()
	if err != nil {
		return errors.Join(err, open.Close())
	}
	f.open, f.out, f.size = open, bufio.NewWriter(open), info.Size()
	return nil
}

func (f *file) flush() error {
	if f.out == nil {
		return nil
	}
	return f.out.Flush()
}

func (f *file) close() {
	if f.open != nil {
		_ = errors.Join(f.flush(), f.open.Close()) // the process ends, nobody is left to tell
		f.open, f.out = nil, nil
	}
}

// rotate puts the full file aside and takes those away that are too many or
// too old.
func (f *file) rotate() error {
	err := errors.Join(f.flush(), f.open.Close())
	f.open, f.out = nil, nil
	if err != nil {
		return err
	}
	now := f.config.Clock.Now().UTC()
	if err := os.Rename(f.config.Path, f.base()+now.Format(stamp)+".log"); err != nil {
		return err
	}
	old, err := f.rotated()
	if err != nil {
		return err
	}
	for i, path := range old {
		tooMany := f.config.Backups > 0 && i < len(old)-f.config.Backups
		tooOld := f.config.MaxAge > 0 && strings.TrimSuffix(strings.TrimPrefix(path, f.base()), ".log") < now.Add(-f.config.MaxAge).Format(stamp)
		if tooMany || tooOld {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// base is what rotated files' names begin with.
func (f *file) base() string { return strings.TrimSuffix(f.config.Path, ".log") + "-" }

// rotated are the rotated files, the oldest first.
func (f *file) rotated() ([]string, error) {
	all, err := filepath.Glob(f.base() + "*.log")
	slices.Sort(all)
	return all, err
}
