package apiserver

import (
	"context"
	"path/filepath"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"github.com/headway-sh/headway/apiserver/audit"
	"github.com/headway-sh/headway/apiserver/inproc"
	"github.com/headway-sh/headway/apiserver/rest"
)

// AuditConfig says what of the audit log is kept, and where.
type AuditConfig struct {
	// Policy is a file with an audit.k8s.io/v1 Policy; empty: the default one.
	Policy string
	// Path of the log; empty: audit/audit.log below the data directory.
	Path string
	// MaxSize is in megabytes, MaxAge in days, as Kubernetes has them.
	MaxSize, MaxBackups, MaxAge int
	// MaxEvent is how many bytes the objects of one event may have; 0 means
	// audit.DefaultMaxEvent.
	MaxEvent int
}

// Defaults of AuditConfig.
const (
	DefaultAuditMaxSize    = 100
	DefaultAuditMaxBackups = 10
	DefaultAuditMaxAge     = 30
)

// openAudit makes the audit log.
func openAudit(c *Config) (*audit.Log, error) {
	a := c.Audit
	if a == (AuditConfig{}) {
		a = AuditConfig{MaxSize: DefaultAuditMaxSize, MaxBackups: DefaultAuditMaxBackups, MaxAge: DefaultAuditMaxAge}
	}
	if a.Path == "" {
		a.Path = filepath.Join(c.DataDir, "audit", "audit.log")
	}
	return audit.New(audit.Config{Path: a.Path, Policy: a.Policy, MaxSize: int64(a.MaxSize) << 20, Backups: a.MaxBackups,
		MaxAge: time.Duration(a.MaxAge) * 24 * time.Hour, MaxEvent: a.MaxEvent, Clock: c.Clock, Log: c.Logger})
}

// auditor puts what the rooms tell into the audit log's words.
type auditor struct {
	log *audit.Log
	now func() time.Time
}

var (
	_ rest.Auditor   = auditor{}
	_ inproc.Auditor = auditor{}
)

// Judge asks the policy about a request.
func (a auditor) Judge(r *rest.Record) rest.Judgement {
	return rest.Judgement{RequestAuditConfig: a.log.Judge(attributes(r)), Limit: a.log.MaxEvent()}
}

// Audit writes a stage of a request down, if the policy wants it.
func (a auditor) Audit(_ context.Context, r rest.Record) {
	if r.Stage == auditinternal.StageRequestReceived && !a.log.Received() || !audit.Recorded(r.Judged.RequestAuditConfig, r.Stage) {
		return
	}
	record := attributes(&r)
	record.ID, record.URI, record.Stage, record.Code, record.Status = r.ID, r.Request.URL.RequestURI(), r.Stage, r.Code, r.Status
	record.Decision, record.Reason, record.Annotations = r.Decision, r.Reason, r.Annotations
	record.Judged, record.Request, record.Response, record.Truncated = r.Judged.RequestAuditConfig, r.Asked, r.Answered, r.Truncated
	record.Identity.UserAgent = r.Request.UserAgent()
	for _, ip := range utilnet.SourceIPs(r.Request) {
		record.SourceIPs = append(record.SourceIPs, ip.String())
	}
	if record.Path != "" {
		a.log.Audit(record, r.Received)
		return
	}
	record.UID, record.ResourceVersion = r.UID, r.ResourceVersion
	if record.Name == "" {
		record.Name = r.Name
	}
	if record.Namespace == "" {
		record.Namespace = r.Namespace
	}
	a.log.Audit(record, r.Received)
}

// attributes are what the policy decides by.
func attributes(r *rest.Record) *audit.Record {
	info := r.Info
	record := &audit.Record{Identity: r.Identity, Real: r.Real, Verb: info.Verb}
	if info.IsResource {
		record.Resource, record.Version, record.Subresource, record.Namespace, record.Name = info.GroupResource(), info.Version, info.Subresource, info.Namespace, info.Name
	} else {
		record.Path = info.Path
	}
	return record
}
