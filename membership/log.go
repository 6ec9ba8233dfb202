package membership

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// tellEvery is how often packets that were dropped are told of at most.
const tellEvery = time.Minute

// logWriter turns memberlist's lines into records of their level. What it says
// of packets that it dropped is counted, for anybody can send as many as he
// likes: the library tells of them nowhere else.
type logWriter struct {
	logger  *slog.Logger
	dropped atomic.Int64

	mu   sync.Mutex // guards told
	told time.Time
}

// refusals begin what memberlist says of what it does not understand: sealed
// with another key or none, cut short, or of no kind.
var refusals = []string{"Decrypt packet failed", "failed to receive and remove the stream label", "failed to receive", "Remote state is not encrypted",
	"Encryption is configured but remote state is not encrypted", "Msg type", "msg type", "Got invalid checksum", "missing message type byte", "unable to remove label", "Failed to decode", "unexpectedly double encrypted"}

func (w *logWriter) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	level := slog.LevelDebug
	if strings.Contains(text, "[ERR]") || strings.Contains(text, "[WARN]") {
		level = slog.LevelInfo
	}
	if _, rest, ok := strings.Cut(text, "] "); ok {
		text = rest
	}
	what := strings.TrimPrefix(text, "memberlist: ")
	for _, r := range refusals {
		if strings.HasPrefix(what, r) {
			w.refused(text)
			return len(line), nil
		}
	}
	w.logger.Log(context.Background(), level, "gossip", "says", text)
	return len(line), nil
}

func (w *logWriter) refused(text string) {
	n := w.dropped.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.told) >= tellEvery {
		w.told = now
		w.logger.Warn("gossip: dropped what no member of this cluster sends", "says", text, "dropped", n)
	}
}
