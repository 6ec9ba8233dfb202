package audit

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	k8saudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/utils/clock"
)

// buffered is how many events wait for the disk before others are dropped.
const buffered = 16 << 10

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
	Clock   clock.PassiveClock
	Log     *slog.Logger
}

// Log is the audit log. Audit may be called concurrently and never blocks.
//
//	New ─▶ Audit … while Run runs ─▶ ctx ends ─▶ what is buffered is written, Run returns
type Log struct {
	config  Config
	policy  k8saudit.PolicyRuleEvaluator
	begins  bool // the policy wants to know of requests before they are answered
	events  chan *auditv1.Event
	dropped atomic.Int64
	written atomic.Int64
}

// New reads the policy.
func New(c Config) (*Log, error) {
	if c.Path == "" || c.Log == nil || c.Clock == nil {
		return nil, errors.New("audit: Path, Log and Clock are needed")
	}
	p, begins, err := loadPolicy(c.Policy)
	if err != nil {
		return nil, err
	}
	return &Log{config: c, policy: p, begins: begins, events: make(chan *auditv1.Event, buffered)}, nil
}

// Dropped is how many events were lost because the disk was too slow.
func (l *Log) Dropped() int64 { return l.dropped.Load() }

// Written is how many events are in the log since the start.
func (l *Log) Written() int64 { return l.written.Load() }

// Received tells whether the stage RequestReceived can be wanted at all: most
// policies omit it, and need not be asked about each request twice.
func (l *Log) Received() bool { return l.begins }

// Full tells that the next event would be lost.
func (l *Log) Full() bool { return len(l.events) == cap(l.events) }

// Audit writes a record down if the policy says so.
func (l *Log) Audit(r *Record, received time.Time) {
	decided := l.policy.EvaluatePolicyRule(attributesOf(r))
	if decided.Level == "" || decided.Level == "None" || slices.Contains(decided.OmitStages, r.Stage) {
		return
	}
	select {
	case l.events <- event(r, string(decided.Level), received, l.config.Clock.Now()):
	default:
		if l.dropped.Add(1) == 1 {
			l.config.Log.Warn("audit events are dropped: the disk is slower than the requests", "path", l.config.Path)
		}
	}
}

func event(r *Record, level string, received, now time.Time) *auditv1.Event {
	e := &auditv1.Event{
		TypeMeta: metav1.TypeMeta{APIVersion: auditv1.SchemeGroupVersion.String(), Kind: "Event"},
		Level:    auditv1.Level(level), AuditID: types.UID(r.ID), Stage: auditv1.Stage(r.Stage), RequestURI: r.URI, Verb: r.Verb,
		User: authenticationv1.UserInfo{Username: r.Identity.Name, UID: r.Identity.UID, Groups: r.Identity.Groups}, SourceIPs: r.SourceIPs, UserAgent: r.Identity.UserAgent,
		RequestReceivedTimestamp: metav1.NewMicroTime(received), StageTimestamp: metav1.NewMicroTime(now),
	}
	if r.ID == "" {
		e.AuditID = types.UID(uuid.NewString())
	}
	if r.Identity.Impersonator != "" {
		impersonated := e.User
		e.ImpersonatedUser = &impersonated
		e.User = authenticationv1.UserInfo{Username: r.Identity.Impersonator}
	}
	if r.Path == "" {
		e.ObjectRef = &auditv1.ObjectReference{Resource: r.Resource.Resource, APIGroup: r.Resource.Group, APIVersion: r.Version,
			Subresource: r.Subresource, Namespace: r.Namespace, Name: r.Name}
	}
	if r.Code != 0 {
		e.ResponseStatus = &metav1.Status{Code: int32(r.Code)}
		if r.Code >= 400 {
			e.ResponseStatus.Status, e.ResponseStatus.Message = metav1.StatusFailure, r.Reason
		}
	}
	if e.Annotations = maps.Clone(r.Annotations); r.Decision != "" {
		if e.Annotations == nil {
			e.Annotations = map[string]string{}
		}
		e.Annotations["authorization.k8s.io/decision"], e.Annotations["authorization.k8s.io/reason"] = r.Decision, ""
		if r.Decision == "forbid" {
			e.Annotations["authorization.k8s.io/reason"] = r.Reason
		}
	}
	return e
}

// Run writes until ctx ends. A disk that does not take an event loses it: the
// cluster goes on, and says so in its own log.
func (l *Log) Run(ctx context.Context) error {
	f := &file{config: &l.config}
	defer f.close()
	for {
		select {
		case e := <-l.events:
			l.write(f, e)
		case <-ctx.Done():
			for {
				select {
				case e := <-l.events:
					l.write(f, e)
				default:
					return nil
				}
			}
		}
	}
}

func (l *Log) write(f *file, e *auditv1.Event) {
	line, err := json.Marshal(e)
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
