package write

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// Attributes are what a request wants to do, in the words of RBAC.
type Attributes struct {
	// Verb is get, list, watch, create, update, patch, delete,
	// deletecollection, or a special one such as bind or approve.
	Verb        string
	Resource    schema.GroupResource
	Version     string
	Subresource string
	// Namespace is empty for cluster-scoped resources and all-namespace reads.
	Namespace string
	// Name is empty for lists and creations.
	Name string
	// FieldSelector and LabelSelector narrow a list, a watch or a
	// deletecollection; may be empty.
	FieldSelector, LabelSelector string
	// Path is set instead of Resource for requests that are not about
	// resources, such as /metrics.
	Path string
}

// Decision is an Authorizer's answer.
type Decision struct {
	Allowed bool
	// Reason is appended to the refusal; may be empty.
	Reason string
}

// Authorizer decides whether an identity may do something. It sees only the
// View, must be quick and may be called concurrently.
type Authorizer interface {
	Authorize(view txn.View, identity txn.Identity, attributes Attributes) Decision
}

// Authorize asks the authorizer and turns a refusal into the 403 that clients
// know.
func Authorize(authorizer Authorizer, view txn.View, identity txn.Identity, a Attributes) error {
	_, err := Decide(authorizer, view, identity, a)
	return err
}

// Decide is Authorize that says why.
func Decide(authorizer Authorizer, view txn.View, identity txn.Identity, a Attributes) (Decision, error) {
	decision := authorizer.Authorize(view, identity, a)
	if decision.Allowed {
		return decision, nil
	}
	return decision, apierrors.NewForbidden(a.Resource, a.Name, refusal{identity.Name, a, decision.Reason})
}

// refusal words a denied request.
type refusal struct {
	user   string
	a      Attributes
	reason string
}

func (r refusal) Error() string {
	if r.a.Path != "" {
		return fmt.Sprintf("User %q cannot %s path %q%s", r.user, r.a.Verb, r.a.Path, suffix(": ", r.reason))
	}
	resource := r.a.Resource.Resource
	if r.a.Subresource != "" {
		resource += "/" + r.a.Subresource
	}
	where := "at the cluster scope"
	if r.a.Namespace != "" {
		where = fmt.Sprintf("in the namespace %q", r.a.Namespace)
	}
	return fmt.Sprintf("User %q cannot %s resource %q in API group %q %s%s",
		r.user, r.a.Verb, resource, r.a.Resource.Group, where, suffix(": ", r.reason))
}

func suffix(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}
