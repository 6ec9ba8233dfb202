package apiserver

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/remote"
	"github.com/headway-sh/headway/apiserver/audit"
	"github.com/headway-sh/headway/apiserver/inproc"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/apiserver/write"
)

// Wrote records a change in process.
func (a auditor) Wrote(w inproc.Written) {
	r := changeRecord(w.Identity, nil, w.Kind, w.Change)
	if !a.judge(r) {
		return
	}
	r.Annotations, r.Reason = w.Done.Annotations, w.Done.Reason
	a.finish(r, w.Err, func() ([]byte, error) { return requestOf(w.Kind, w.Change) }, func() ([]byte, error) {
		if w.Answer != nil {
			return rest.JSONOf(targetOf(w.Kind, w.Change), w.Answer)
		}
		return responseOf(w.Kind, w.Change, w.Done.Object)
	})
}

// Cleared records the deletion of a collection in process.
func (a auditor) Cleared(identity txn.Identity, k *kind.Kind, c *write.Collection, gone []txn.Object, err error) {
	r := &audit.Record{Identity: identity, Verb: "deletecollection", Resource: k.Served(), Version: k.GVK.Version, Namespace: c.Namespace}
	if !a.judge(r) {
		return
	}
	a.finish(r, err, func() ([]byte, error) { return requestOf(k, &c.Delete) }, func() ([]byte, error) {
		list := struct {
			metav1.TypeMeta `json:",inline"`
			Items           []json.RawMessage `json:"items"`
		}{TypeMeta: metav1.TypeMeta{APIVersion: k.GVK.GroupVersion().String(), Kind: k.ListGVK().Kind}}
		for _, o := range gone {
			b, err := shown(k, o)
			if err != nil {
				return nil, err
			}
			list.Items = append(list.Items, b)
		}
		return json.Marshal(list)
	})
}

// judge asks the policy about something in process, which has one stage only.
func (a auditor) judge(r *audit.Record) bool {
	r.Stage = auditinternal.StageResponseComplete
	r.Judged = a.log.Judge(r)
	return audit.Recorded(r.Judged, r.Stage)
}

// finish writes down what became of something in process.
func (a auditor) finish(r *audit.Record, err error, request, response func() ([]byte, error)) {
	r.Decision, r.Code = "allow", http.StatusOK
	if r.Verb == "create" {
		r.Code = http.StatusCreated
	}
	if err != nil {
		r.Status = statusOf(err)
		r.Code = int(r.Status.Code)
		if apierrors.IsForbidden(err) {
			r.Decision = "forbid"
		}
		response = func() ([]byte, error) { return json.Marshal(r.Status) }
	}
	encode := func(level auditinternal.Level, body func() ([]byte, error)) []byte {
		if body == nil || !r.Judged.Level.GreaterOrEqual(level) {
			return nil
		}
		b, err := body()
		if err != nil {
			b, _ = json.Marshal("not encoded: " + err.Error()) // a string always is
		}
		return b
	}
	r.Request, r.Response = encode(auditinternal.LevelRequest, request), encode(auditinternal.LevelRequestResponse, response)
	a.log.Audit(r, a.now())
}

// statusOf is an error in process as the API would tell it.
func statusOf(err error) *metav1.Status {
	var api apierrors.APIStatus
	s := metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}
	switch {
	case errors.As(err, &api):
		s = api.Status()
	case txn.IsConflict(err) || errors.Is(err, txn.ErrEpoch):
		s.Code, s.Reason = http.StatusConflict, metav1.StatusReasonConflict
	}
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	return &s
}

func changeRecord(identity txn.Identity, real *txn.Identity, k *kind.Kind, c *txn.Change) *audit.Record {
	r := &audit.Record{Identity: identity, Real: real, Verb: string(c.Verb), Resource: c.Ref.Resource, Version: c.Version,
		Subresource: c.Subresource, Namespace: c.Ref.Namespace, Name: c.Ref.Name}
	if c.Verb == txn.Apply {
		r.Verb = string(txn.Patch)
	}
	if k != nil {
		r.Resource, r.Version = k.Served(), k.GVK.Version
	}
	return r
}

// targetOf is the kind of what a change carries.
func targetOf(k *kind.Kind, c *txn.Change) schema.GroupVersionKind {
	if sub, ok := k.Subresources[c.Subresource]; ok && sub.GVK.Kind != "" {
		return sub.GVK
	}
	return k.GVK
}

// requestOf is what a change asks for, in JSON.
func requestOf(k *kind.Kind, c *txn.Change) ([]byte, error) {
	switch {
	case c.Object != nil:
		return rest.JSONOf(targetOf(k, c), c.Object)
	case len(c.Patch) > 0 && json.Valid(c.Patch):
		return c.Patch, nil
	case len(c.Patch) > 0:
		return json.Marshal(string(c.Patch))
	}
	return json.Marshal(&metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "DeleteOptions"},
		Preconditions: c.Preconditions, PropagationPolicy: c.Propagation, GracePeriodSeconds: c.GracePeriod})
}

// responseOf is what a change leaves, as its subresource shows it.
func responseOf(k *kind.Kind, c *txn.Change, o txn.Object) ([]byte, error) {
	sub, isSub := k.Subresources[c.Subresource]
	switch {
	case o == nil || isSub && sub.Set != nil && sub.Get == nil:
		return json.Marshal(&metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess})
	case isSub && sub.Get != nil:
		made, err := sub.Get(o)
		if err != nil {
			return nil, err
		}
		return rest.JSONOf(targetOf(k, c), made)
	}
	return shown(k, o)
}

// shown is a stored object in the version of a row.
func shown(k *kind.Kind, o txn.Object) ([]byte, error) {
	converted, err := k.FromStored(o)
	if err != nil {
		return nil, err
	}
	return rest.JSONOf(k.GVK, converted)
}

const (
	changesKey = "txn.headway.sh/changes"
	objectsKey = "txn.headway.sh/objects"
	// maxObjects bounds the annotation that names a transaction's objects, bytes.
	maxObjects = 64 << 10
)

// Committed records a transaction in process as one event. A change of it has
// an event of its own, under the same ID, when the policy wants its objects or
// admission has something to tell.
func (a auditor) Committed(by txn.Identity, result *txn.Result, told []write.Told, done *txn.Committed, err error) {
	r := &audit.Record{ID: uuid.NewString(), Identity: result.Identity, Verb: "commit", Path: remote.Path + "/commit"}
	if result.Identity.Impersonator != "" {
		r.Real = &by
	}
	if a.judge(r) {
		r.Annotations = commitAnnotations(result, "")
		a.finish(r, err, nil, nil)
	}
	a.shares(r.ID, result, told, err)
	a.members(r.ID, r.Real, result, told, done, err)
}

// CommittedOver is Committed for a transaction over HTTPS, which is a request
// that is audited itself.
func (a auditor) CommittedOver(w http.ResponseWriter, result *txn.Result, told []write.Told, done *txn.Committed, err error) {
	r := rest.RecordOf(w)
	if r == nil {
		return
	}
	if audit.Recorded(r.Judged.RequestAuditConfig, auditinternal.StageResponseComplete) {
		rest.Annotate(w, commitAnnotations(result, ""))
	}
	a.shares(r.ID, result, told, err)
	a.members(r.ID, r.Real, result, told, done, err)
}

// shares records, under the same ID, what of a transaction was made as somebody
// else, one event for each of them.
func (a auditor) shares(id string, result *txn.Result, told []write.Told, err error) {
	done := map[string]bool{}
	for i := range told {
		as := result.Outcomes[i].Change.As
		if as == nil || done[as.Name] {
			continue
		}
		done[as.Name] = true
		r := &audit.Record{ID: id, Identity: told[i].By, Real: &result.Identity, Verb: "commit", Path: remote.Path + "/commit"}
		if a.judge(r) {
			r.Annotations = commitAnnotations(result, as.Name)
			a.finish(r, err, nil, nil)
		}
	}
}

func (a auditor) members(id string, real *txn.Identity, result *txn.Result, told []write.Told, done *txn.Committed, err error) {
	for i := range result.Outcomes {
		var tells write.Told
		if i < len(told) {
			tells = told[i]
		}
		if !a.log.Bodies() && len(tells.Annotations) == 0 {
			continue
		}
		o := &result.Outcomes[i]
		by, really := result.Identity, real
		if o.Change.As != nil {
			by, really = tells.By, &result.Identity
		}
		r := changeRecord(by, really, tells.Kind, &o.Change)
		if !a.judge(r) || !r.Judged.Level.GreaterOrEqual(auditinternal.LevelRequest) && len(tells.Annotations) == 0 {
			continue
		}
		r.ID, r.Annotations, r.Reason = id, tells.Annotations, tells.Reason
		failed := err
		if o.Err != nil {
			failed = o.Err
		}
		after := o.After
		if done != nil {
			if after = done.Objects[i]; done.Failed[i] != nil {
				failed = done.Failed[i]
			}
		}
		if tells.Kind == nil {
			a.finish(r, failed, nil, nil)
			continue
		}
		a.finish(r, failed, func() ([]byte, error) { return requestOf(tells.Kind, &o.Change) },
			func() ([]byte, error) { return responseOf(tells.Kind, &o.Change, after) })
	}
}

// commitAnnotations say how many changes a transaction has, and of what:
// "update deployments.apps shop/web; create pods/binding shop/a shop/b". With
// the name of somebody, only what was made as him counts.
func commitAnnotations(result *txn.Result, as string) map[string]string {
	var b strings.Builder
	last, n := "", 0
	for i := range result.Outcomes {
		c := &result.Outcomes[i].Change
		if as != "" && (c.As == nil || c.As.Name != as) {
			continue
		}
		n++
		what := string(c.Verb) + " " + c.Ref.Resource.String()
		if c.Subresource != "" {
			what = string(c.Verb) + " " + c.Ref.Resource.Resource + "/" + c.Subresource
		}
		if b.Len() > maxObjects {
			continue
		}
		if what != last {
			if last != "" {
				b.WriteString("; ")
			}
			b.WriteString(what)
			last = what
		}
		b.WriteByte(' ')
		if c.Ref.Namespace != "" {
			b.WriteString(c.Ref.Namespace)
			b.WriteByte('/')
		}
		b.WriteString(c.Ref.Name)
	}
	if b.Len() > maxObjects {
		b.WriteString("; and more")
	}
	return map[string]string{changesKey: strconv.Itoa(n), objectsKey: b.String()}
}
