package logs

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// block is how much is read at a time from a file's end.
const block = 64 << 10

// lineStart finds the offset in the file from which there are n lines, or 0.
// A last line without a newline counts.
func lineStart(file *os.File, n int64) (int64, error) {
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if n <= 0 {
		return end, nil
	}
	buffer := make([]byte, block)
	for at := end; at > 0; {
		size := min(at, block)
		at -= size
		if _, err := file.ReadAt(buffer[:size], at); err != nil {
			return 0, err
		}
		for i := size - 1; i >= 0; i-- {
			if buffer[i] != '\n' || at+i == end-1 {
				continue
			}
			if n--; n == 0 {
				return at + i + 1, nil
			}
		}
	}
	return 0, nil
}

// Tail gives the text of a log's last lines, at most so many of them and so
// many bytes.
func Tail(path string, lines int64, limit int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tail log: %w", err)
	}
	defer file.Close()
	start, err := lineStart(file, lines)
	if err != nil {
		return nil, fmt.Errorf("tail log: %w", err)
	}
	data, err := io.ReadAll(io.NewSectionReader(file, start, 1<<62))
	if err != nil {
		return nil, fmt.Errorf("tail log: %w", err)
	}
	var text []byte
	for line := range bytes.Lines(data) {
		if e, ok := parse(bytes.TrimSuffix(line, []byte{'\n'})); ok {
			text = append(text, e.text...)
			if !e.partial {
				text = append(text, '\n')
			}
		}
	}
	return text[max(0, len(text)-limit):], nil
}

// countLines counts the lines from an offset on.
func countLines(file *os.File, start int64) (int64, error) {
	buffer := make([]byte, block)
	var lines int64
	from := io.NewSectionReader(file, start, 1<<62)
	last := byte('\n')
	for {
		n, err := from.Read(buffer)
		lines += int64(bytes.Count(buffer[:n], []byte{'\n'}))
		if n > 0 {
			last = buffer[n-1]
		}
		if err == io.EOF { //nolint:errorlint // as io.Reader says
			if last != '\n' {
				lines++
			}
			return lines, nil
		}
		if err != nil {
			return 0, err
		}
	}
}
