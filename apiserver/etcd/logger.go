package etcd

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// expected are messages about what is meant to be so.
var expected = []string{
	// etcd's own users and tokens are not used; the socket is the owner's alone.
	"simple token is not cryptographically signed",
	// There is one client socket, and it speaks gRPC only.
	"Running http and grpc server on single port",
	// Transactions of whole commits need it, and the store bounds them.
	"exceeded recommended request limit",
	// A new database has no version yet; etcd writes it seconds later.
	"Failed to detect schema version",
	"failed to update storage version",
}

// newLogger passes etcd's warnings and errors on.
func newLogger(to *slog.Logger, closing *atomic.Bool) *zap.Logger {
	return zap.New(&core{to: to.With("component", "etcd"), closing: closing})
}

// core is a zapcore.Core over slog.
type core struct {
	to *slog.Logger
	// closing silences what listeners and connections say when they are closed
	// on purpose.
	closing *atomic.Bool
}

var _ zapcore.Core = (*core)(nil)

func (c *core) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{to: c.to.With(attributes(fields)...), closing: c.closing}
}

func (c *core) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) || c.closing.Load() && e.Level <= zapcore.ErrorLevel {
		return checked
	}
	for _, text := range expected {
		if strings.Contains(e.Message, text) {
			return checked
		}
	}
	return checked.AddCore(e, c)
}

func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelError
	if e.Level == zapcore.WarnLevel {
		level = slog.LevelWarn
	}
	// zap carries no context; slog's handlers get an empty one.
	c.to.Log(context.Background(), level, e.Message, attributes(fields)...)
	return nil
}

func (c *core) Sync() error { return nil }

func attributes(fields []zapcore.Field) []any {
	encoder := zapcore.NewMapObjectEncoder()
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		f.AddTo(encoder)
		names = append(names, f.Key)
	}
	out := make([]any, 0, len(fields))
	for _, name := range names {
		if v, ok := encoder.Fields[name]; ok {
			out = append(out, slog.Any(name, v))
		}
	}
	return out
}
