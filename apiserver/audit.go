package apiserver

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"github.com/headway-sh/headway/api/txn"
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
		MaxAge: time.Duration(a.MaxAge) * 24 * time.Hour, Clock: c.Clock, Log: c.Logger})
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

func (a auditor) Audit(_ context.Context, r rest.Record) {
	if r.Stage == auditinternal.StageRequestReceived && !a.log.Received() {
		return
	}
	info := r.Info
	record := &audit.Record{ID: r.ID, Identity: r.Identity, Verb: info.Verb, URI: r.Request.URL.RequestURI(), Stage: r.Stage, Code: r.Code, Decision: r.Decision, Annotations: r.Annotations}
	if info.IsResource {
		record.Resource, record.Version, record.Subresource, record.Namespace, record.Name = info.GroupResource(), info.Version, info.Subresource, info.Namespace, info.Name
	} else {
		record.Path = info.Path
	}
	record.Identity.UserAgent = r.Request.UserAgent()
	for _, ip := range utilnet.SourceIPs(r.Request) {
		record.SourceIPs = append(record.SourceIPs, ip.String())
	}
	if r.Err != nil {
		record.Reason = r.Err.Error()
	}
	a.log.Audit(record, r.Received)
}

// Wrote records a change in process.
func (a auditor) Wrote(identity txn.Identity, change *txn.Change, err error) {
	a.inProcess(&audit.Record{Identity: identity, Verb: string(change.Verb), Resource: change.Ref.Resource, Version: change.Version,
		Subresource: change.Subresource, Namespace: change.Ref.Namespace, Name: change.Ref.Name}, err)
}

// Committed records a transaction in process, whatever it has in it, as one.
func (a auditor) Committed(identity txn.Identity, changes int, err error) {
	a.inProcess(&audit.Record{Identity: identity, Verb: "commit", Path: "/apis/txn.headway.sh/v1/commit",
		Annotations: map[string]string{"txn.headway.sh/changes": strconv.Itoa(changes)}}, err)
}

func (a auditor) inProcess(r *audit.Record, err error) {
	r.Stage, r.Code, r.Decision = auditinternal.StageResponseComplete, http.StatusOK, "allow"
	if err != nil {
		r.Code, r.Reason = http.StatusInternalServerError, err.Error()
		var api apierrors.APIStatus
		if errors.As(err, &api) {
			r.Code = int(api.Status().Code)
		}
		if apierrors.IsForbidden(err) {
			r.Decision = "forbid"
		}
	}
	a.log.Audit(r, a.now())
}
