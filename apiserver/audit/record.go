package audit

import (
	"maps"

	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	k8saudit "k8s.io/apiserver/pkg/audit"

	"github.com/headway-sh/headway/api/txn"
)

// Record is one thing that somebody asked for.
type Record struct {
	// ID is the request's, as its answer's Audit-ID header says; empty: a new one.
	ID       string
	Identity txn.Identity
	// Real is who acts as Identity; nil: nobody but the identity itself.
	Real *txn.Identity
	// Verb is the API's for resources, else the method in lower case.
	Verb                 string
	Resource             schema.GroupResource
	Version, Subresource string
	Namespace, Name      string
	// UID and ResourceVersion are those that the request's object has.
	UID             types.UID
	ResourceVersion string
	// Path is set for what is no resource.
	Path string
	// URI is what was asked for, with its query; empty in process.
	URI string
	// SourceIPs are the addresses that the request says it came by, the last
	// one being the connection's.
	SourceIPs []string
	// Stage is one of audit.k8s.io/v1's.
	Stage auditinternal.Stage
	// Code is the answer's; Status is a refusal, or an answer that is nothing
	// but a Status.
	Code   int
	Status *metav1.Status
	// Decision is the authorizer's, "allow" or "forbid", and Reason why; empty
	// when it was not asked.
	Decision, Reason string
	Annotations      map[string]string

	// Judged is what Log.Judge said of the record.
	Judged k8saudit.RequestAuditConfig
	// Request and Response are what was asked and answered, in JSON: read where
	// the judgement wants them only.
	Request, Response []byte
	// Truncated says that one of them was too large to be kept.
	Truncated bool
}

// truncatedKey is Kubernetes' annotation of events that lack their objects.
const truncatedKey = "audit.k8s.io/truncated"

// maxUserAgent bounds what is kept of a user agent, bytes.
const maxUserAgent = 1024

// wants tells whether the record is to be written down with what a level has.
func wants(r *Record, level auditinternal.Level) bool { return r.Judged.Level.GreaterOrEqual(level) }

// event is a record in the words of audit.k8s.io/v1.
func event(r *Record, received, now metav1.MicroTime) *auditv1.Event {
	e := &auditv1.Event{
		TypeMeta: metav1.TypeMeta{APIVersion: auditv1.SchemeGroupVersion.String(), Kind: "Event"},
		Level:    auditv1.Level(r.Judged.Level), AuditID: types.UID(r.ID), Stage: auditv1.Stage(r.Stage), RequestURI: r.URI, Verb: r.Verb,
		User: userInfo(&r.Identity), SourceIPs: r.SourceIPs, UserAgent: r.Identity.UserAgent, RequestReceivedTimestamp: received, StageTimestamp: now,
	}
	if len(e.UserAgent) > maxUserAgent {
		e.UserAgent = e.UserAgent[:maxUserAgent] + "...TRUNCATED"
	}
	if r.ID == "" {
		e.AuditID = types.UID(uuid.NewString())
	}
	if r.Real != nil {
		impersonated := e.User
		e.ImpersonatedUser, e.User = &impersonated, userInfo(r.Real)
	}
	if r.Path == "" {
		e.ObjectRef = &auditv1.ObjectReference{Resource: r.Resource.Resource, APIGroup: r.Resource.Group, APIVersion: r.Version,
			Subresource: r.Subresource, Namespace: r.Namespace, Name: r.Name, UID: r.UID, ResourceVersion: r.ResourceVersion}
	}
	if r.Code != 0 {
		e.ResponseStatus = &metav1.Status{Code: int32(r.Code)}
	}
	if s := r.Status; s != nil {
		e.ResponseStatus = &metav1.Status{Status: s.Status, Message: s.Message, Reason: s.Reason, Details: s.Details, Code: s.Code}
	}
	if r.Decision != "" || len(r.Annotations) > 0 {
		e.Annotations = make(map[string]string, len(r.Annotations)+3)
		maps.Copy(e.Annotations, r.Annotations)
	}
	if r.Decision != "" {
		e.Annotations["authorization.k8s.io/decision"], e.Annotations["authorization.k8s.io/reason"] = r.Decision, r.Reason
	}
	return e
}

// attach gives an event the objects that its level has, or says that they are
// too large. It returns how many bytes they have.
func attach(e *auditv1.Event, r *Record, limit int) int {
	var request, response []byte
	if wants(r, auditinternal.LevelRequest) {
		request = r.Request
	}
	if wants(r, auditinternal.LevelRequestResponse) {
		response = r.Response
	}
	size := len(request) + len(response)
	if r.Truncated || size > limit {
		truncate(e)
		return 0
	}
	e.RequestObject, e.ResponseObject = unknown(request), unknown(response)
	return size
}

// truncate takes the objects off an event.
func truncate(e *auditv1.Event) {
	if e.Annotations == nil {
		e.Annotations = map[string]string{}
	}
	e.Annotations[truncatedKey], e.RequestObject, e.ResponseObject = "true", nil, nil
}

func unknown(b []byte) *runtime.Unknown {
	if len(b) == 0 {
		return nil
	}
	return &runtime.Unknown{Raw: b, ContentType: runtime.ContentTypeJSON}
}

func userInfo(id *txn.Identity) authenticationv1.UserInfo {
	u := authenticationv1.UserInfo{Username: id.Name, UID: id.UID, Groups: id.Groups}
	if len(id.Extra) > 0 {
		u.Extra = make(map[string]authenticationv1.ExtraValue, len(id.Extra))
		for key, values := range id.Extra {
			u.Extra[key] = values
		}
	}
	return u
}
