package match

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

// Attributes puts a request, in the version of a row of its kind, into the
// words of expressions.
func Attributes(r *write.Request, as *kind.Kind) (*admission.VersionedAttributes, error) {
	subject, err := r.Subject(as)
	if err != nil {
		return nil, err
	}
	id := r.Identity
	served := r.Served.GVK
	if subject.Kind != as.GVK {
		served = subject.Kind // a subresource's own kind has one version
	}
	a := &admission.VersionedAttributes{VersionedKind: subject.Kind, Attributes: admission.NewAttributesRecord(subject.Object, subject.Old, served,
		namespaceOf(r), r.Ref.Name, r.Served.GVR(), r.Subresource, admission.Operation(r.Operation), r.Options(), r.DryRun,
		&user.DefaultInfo{Name: id.Name, UID: id.UID, Groups: id.Groups, Extra: id.Extra})}
	if subject.Object != nil {
		a.VersionedObject.Set(subject.Object)
	}
	if subject.Old != nil {
		a.VersionedOldObject.Set(subject.Old)
	}
	return a, nil
}

// namespaceOf is the request's namespace; that of a namespace is its own.
func namespaceOf(r *write.Request) string {
	if r.Ref.Resource == namespaces {
		return r.Ref.Name
	}
	return r.Ref.Namespace
}

// authorized is the write path's authorizer on a View, as expressions use it.
type authorized struct {
	view txn.View
	by   write.Authorizer
}

// Authorizer lets expressions ask who may do what, on a View.
func Authorizer(view txn.View, by write.Authorizer) authorizer.UnconditionalAuthorizer {
	return authorized{view, by}
}

func (a authorized) Authorize(_ context.Context, q authorizer.Attributes) (authorizer.Decision, string, error) {
	u := q.GetUser()
	id := txn.Identity{Name: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: u.GetExtra()}
	wanted := write.Attributes{Verb: q.GetVerb(), Namespace: q.GetNamespace(), Name: q.GetName(), Version: q.GetAPIVersion(),
		Resource: schema.GroupResource{Group: q.GetAPIGroup(), Resource: q.GetResource()}, Subresource: q.GetSubresource()}
	if !q.IsResourceRequest() {
		wanted = write.Attributes{Verb: strings.ToLower(q.GetVerb()), Path: q.GetPath()}
	}
	if narrow, err := q.GetFieldSelector(); err == nil {
		texts := make([]string, len(narrow))
		for i, f := range narrow {
			texts[i] = f.Field + string(f.Operator) + fields.EscapeValue(f.Value)
		}
		wanted.FieldSelector = strings.Join(texts, ",")
	}
	if narrow, err := q.GetLabelSelector(); err == nil && len(narrow) > 0 {
		wanted.LabelSelector = labels.NewSelector().Add(narrow...).String()
	}
	decision := a.by.Authorize(a.view, id, wanted)
	if decision.Allowed {
		return authorizer.DecisionAllow, decision.Reason, nil
	}
	return authorizer.DecisionNoOpinion, decision.Reason, nil
}
