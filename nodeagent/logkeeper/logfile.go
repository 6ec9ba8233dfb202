package logkeeper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const (
	defaultMaxSize  = 10 << 20
	defaultMaxFiles = 5
	// rotatedLayout follows the file's name; it sorts by age as text.
	rotatedLayout = "20060102-150405.000000000"
)

// logFile is a log with its rotated predecessors: 0.log, 0.log.20260102-150405.000000000.
type logFile struct {
	path     string
	maxSize  int64
	maxFiles int
	file     *os.File
	size     int64
	inode    uint64
}

func openLog(c Container) (*logFile, error) {
	if c.LogPath == "" {
		return nil, nil
	}
	l := &logFile{path: c.LogPath, maxSize: c.MaxSize, maxFiles: c.MaxFiles}
	if l.maxSize <= 0 {
		l.maxSize = defaultMaxSize
	}
	if l.maxFiles <= 0 {
		l.maxFiles = defaultMaxFiles
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	return l, l.open()
}

func (l *logFile) open() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close() // nothing was written
		return fmt.Errorf("open log: %w", err)
	}
	l.file, l.size = file, info.Size()
	l.inode = 0
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		l.inode = stat.Ino
	}
	return nil
}

// position returns the size of the file that the next write goes to, in bytes,
// and its inode.
func (l *logFile) position() (size int64, inode uint64, err error) {
	if l.file == nil {
		if err := l.open(); err != nil {
			return 0, 0, err
		}
	}
	return l.size, l.inode, nil
}

func (l *logFile) write(lines []byte) error {
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(lines)
	l.size += int64(n)
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	if l.size < l.maxSize {
		return nil
	}
	return l.rotate()
}

// rotate puts the file aside and starts a new one. Whoever reads the old one
// keeps its lines; the oldest beyond maxFiles go.
func (l *logFile) rotate() error {
	l.close()
	aside := l.path + "." + time.Now().UTC().Format(rotatedLayout)
	if err := os.Rename(l.path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rotate log: %w", err)
	}
	if err := l.open(); err != nil {
		return err
	}
	old, err := filepath.Glob(globEscape(l.path) + ".*")
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	slices.Sort(old)
	for len(old) > l.maxFiles-1 {
		if err := os.Remove(old[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
		old = old[1:]
	}
	return nil
}

func globEscape(path string) string {
	var out []byte
	for i := range len(path) {
		switch path[i] {
		case '*', '?', '[', '\\':
			out = append(out, '\\')
		}
		out = append(out, path[i])
	}
	return string(out)
}

func (l *logFile) close() {
	if l.file != nil {
		_ = l.file.Close() // written without buffering: nothing is left to fail
		l.file = nil
	}
}
