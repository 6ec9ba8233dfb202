package logs

import (
	"bytes"
	"time"
)

// entry is one line of a log file; text keeps no newline.
type entry struct {
	at      time.Time
	stamp   []byte
	stderr  bool
	partial bool
	text    []byte
}

// parse reads a line without its newline; a line that is not CRI's is false.
func parse(line []byte) (entry, bool) {
	stamp, rest, ok := bytes.Cut(line, []byte{' '})
	stream, rest, ok2 := bytes.Cut(rest, []byte{' '})
	tag, text, ok3 := bytes.Cut(rest, []byte{' '})
	if !ok || !ok2 || !ok3 && len(tag) == 0 {
		return entry{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return entry{}, false
	}
	return entry{at: at, stamp: stamp, stderr: string(stream) == "stderr", partial: tag[0] == 'P', text: text}, true
}
