package rest

import (
	"bytes"
	"encoding/json"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
)

// wants tells whether the request is to be written down with what a level has.
// Nothing is encoded for the audit before it says yes.
func (a *audited) wants(level auditinternal.Level) bool {
	return a != nil && a.record.Judged.Level != "" && a.record.Judged.Level.GreaterOrEqual(level)
}

// asked notes the object that came in the request's body.
func (a *audited) asked(gvk schema.GroupVersionKind, o runtime.Object) {
	if !a.wants(auditinternal.LevelMetadata) {
		return
	}
	if m, err := meta.Accessor(o); err == nil {
		a.record.Name, a.record.Namespace, a.record.UID, a.record.ResourceVersion = m.GetName(), m.GetNamespace(), m.GetUID(), m.GetResourceVersion()
	}
	if a.wants(auditinternal.LevelRequest) {
		a.record.Asked = a.encode(JSONOf(gvk, o))
	}
}

// patched notes a patch, which is the request's object as it came. One that is
// no JSON is refused, and noted as a text.
func (a *audited) patched(patch []byte) {
	if !a.wants(auditinternal.LevelRequest) {
		return
	}
	var err error
	if !json.Valid(patch) {
		patch, err = json.Marshal(string(patch))
	}
	a.record.Asked = a.encode(patch, err)
}

// answered notes an answer: made is how it goes out when that is JSON, else
// nil, and encode gives it in JSON.
func (a *audited) answered(made [][]byte, encode func() ([]byte, error)) {
	if !a.wants(auditinternal.LevelRequestResponse) {
		return
	}
	size := 0
	for _, part := range made {
		size += len(part)
	}
	switch {
	case size > a.record.Judged.Limit:
		a.record.Truncated = true
	case made != nil:
		a.record.Answered = bytes.Join(made, nil)
	default:
		a.record.Answered = a.encode(encode())
	}
}

// answeredStatus notes an answer that is nothing but a Status.
func (a *audited) answeredStatus(status *metav1.Status) {
	if a != nil {
		a.record.Status = status
	}
}

// encode gives what was encoded, if it is not too large.
func (a *audited) encode(b []byte, err error) []byte {
	if err != nil {
		a.h.log.Error("object not encoded for the audit", "auditID", a.record.ID, "error", err)
		return nil
	}
	if len(b) > a.record.Judged.Limit {
		a.record.Truncated = true
		return nil
	}
	return b
}

// JSONOf encodes an object as JSON under a kind. It does not change the object.
func JSONOf(gvk schema.GroupVersionKind, o any) ([]byte, error) {
	bare, err := bareJSON(o)
	if err != nil {
		return nil, err
	}
	return appendTyped(nil, gvk, bare), nil
}
