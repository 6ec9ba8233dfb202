package audit

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	k8saudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/utils/clock"
)

const (
	// buffered is how many events wait for the disk before others are dropped.
	buffered = 16 << 10
	// maxWaiting is how many bytes of objects wait with them before events go
	// without theirs.
	maxWaiting = 32 << 20
	// DefaultMaxEvent is how many bytes the objects of an event may have.
	DefaultMaxEvent = 1 << 20
)

// Config is what a Log is made of.
type Config struct {
	// Path of the log; rotated files lie beside it.
	Path string
	// Policy is a file with an audit.k8s.io/v1 Policy; empty: DefaultPolicy.
	Policy string
	// MaxSize is how many bytes a file grows to, Backups how many rotated ones
	// are kept and MaxAge for how long; 0 means no limit of the latter two.
	MaxSize int64
	Backups int
	MaxAge  time.Duration
	// MaxEvent is how many bytes the objects of an event may have, else it goes
	// without them; 0 means DefaultMaxEvent.
	MaxEvent int
	Clock    clock.PassiveClock
	Log      *slog.Logger
}

// Log is the audit log. Audit may be called concurrently and never blocks.
//
//	New ─▶ Audit … while Run runs ─▶ ctx ends ─▶ what is buffered is written, Run returns
type Log struct {
	config  Config
	policy  *rules
	events  chan queued
	waiting atomic.Int64 // bytes of objects in events
	dropped atomic.Int64
	written atomic.Int64
}

// queued is an event that waits for the disk.
type queued struct {
	event *auditv1.Event
	size  int64 // of its objects
	omit  bool  // they go without managed fields
}

// New reads the policy.
func New(c Config) (*Log, error) {
	if c.Path == "" || c.Log == nil || c.Clock == nil {
		return nil, errors.New("audit: Path, Log and Clock are needed")
	}
	if c.MaxEvent == 0 {
		c.MaxEvent = DefaultMaxEvent
	}
	p, err := loadPolicy(c.Policy)
	if err != nil {
		return nil, err
	}
	return &Log{config: c, policy: p, events: make(chan queued, buffered)}, nil
}

// Dropped is how many events were lost because the disk was too slow.
func (l *Log) Dropped() int64 { return l.dropped.Load() }

// Written is how many events are in the log since the start.
func (l *Log) Written() int64 { return l.written.Load() }

// Received tells whether the stage RequestReceived can be wanted at all: most
// policies omit it, and need not be asked about each request twice.
func (l *Log) Received() bool { return l.policy.begins }

// Bodies tells whether the policy wants objects of anything.
func (l *Log) Bodies() bool { return l.policy.bodies }

// MaxEvent is how many bytes the objects of an event may have.
func (l *Log) MaxEvent() int { return l.config.MaxEvent }

// Full tells that the next event would be lost.
func (l *Log) Full() bool { return len(l.events) == cap(l.events) }

// Judge tells what of a record the policy wants to have written down.
func (l *Log) Judge(r *Record) k8saudit.RequestAuditConfig {
	return l.policy.EvaluatePolicyRule(attributesOf(r))
}

// Audit writes a record down as it was judged.
func (l *Log) Audit(r *Record, received time.Time) {
	if !Recorded(r.Judged, r.Stage) {
		return
	}
	now := l.config.Clock.Now()
	if r.Stage == auditinternal.StageRequestReceived {
		now = received
	}
	q := queued{event: event(r, metav1.NewMicroTime(received), metav1.NewMicroTime(now)), omit: r.Judged.OmitManagedFields}
	if wants(r, auditinternal.LevelRequest) && r.Stage != auditinternal.StageRequestReceived {
		q.size = int64(attach(q.event, r, l.config.MaxEvent))
		if q.size > 0 && l.waiting.Add(q.size) > maxWaiting {
			l.waiting.Add(-q.size)
			q.size = 0
			truncate(q.event)
		}
	}
	select {
	case l.events <- q:
	default:
		l.waiting.Add(-q.size)
		if l.dropped.Add(1) == 1 {
			l.config.Log.Warn("audit events are dropped: the disk is slower than the requests", "path", l.config.Path)
		}
	}
}

// Recorded tells whether a stage of what was so judged is written down at all.
func Recorded(judged k8saudit.RequestAuditConfig, stage auditinternal.Stage) bool {
	return judged.Level != "" && judged.Level != auditinternal.LevelNone && !slices.Contains(judged.OmitStages, stage)
}

// Run writes until ctx ends. A disk that does not take an event loses it: the
// cluster goes on, and says so in its own log.
func (l *Log) Run(ctx context.Context) error {
	f := &file{config: &l.config}
	defer f.close()
	for {
		select {
		case q := <-l.events:
			l.write(f, q)
		case <-ctx.Done():
			for {
				select {
				case q := <-l.events:
					l.write(f, q)
				default:
					return nil
				}
			}
		}
	}
}

func (l *Log) write(f *file, q queued) {
	l.waiting.Add(-q.size)
	line, err := encode(q)
	if err == nil {
		err = f.append(append(line, '\n'))
	}
	if err == nil && len(l.events) == 0 {
		err = f.flush() // nothing follows at once
	}
	if err == nil {
		l.written.Add(1)
		return
	}
	if l.dropped.Add(1) == 1 {
		l.config.Log.Error("audit log cannot be written", "path", l.config.Path, "error", err)
	}
}

func encode(q queued) ([]byte, error) {
	var err error
	if q.omit {
		if q.event.RequestObject, err = withoutManagedFields(q.event.RequestObject); err != nil {
			return nil, err
		}
		if q.event.ResponseObject, err = withoutManagedFields(q.event.ResponseObject); err != nil {
			return nil, err
		}
	}
	return json.Marshal(q.event)
}
