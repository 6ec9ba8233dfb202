package rest

import (
	"context"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// question is what an access review asks.
type question struct {
	kind     string
	meta     *metav1.ObjectMeta
	identity txn.Identity
	resource *authorizationv1.ResourceAttributes
	path     *authorizationv1.NonResourceAttributes
	// namespace is that of a local review, which asks about nothing else.
	namespace string
}

func (h *Handler) reviewOwnAccess(_ context.Context, c *call, o runtime.Object) (runtime.Object, error) {
	review := o.(*authorizationv1.SelfSubjectAccessReview)
	var err error
	review.Status, err = h.access(question{kind: "SelfSubjectAccessReview", meta: &review.ObjectMeta, identity: c.identity,
		resource: review.Spec.ResourceAttributes, path: review.Spec.NonResourceAttributes})
	return review, err
}

func (h *Handler) reviewAccess(_ context.Context, _ *call, o runtime.Object) (runtime.Object, error) {
	review := o.(*authorizationv1.SubjectAccessReview)
	var err error
	review.Status, err = h.access(question{kind: "SubjectAccessReview", meta: &review.ObjectMeta, identity: subject(review.Spec),
		resource: review.Spec.ResourceAttributes, path: review.Spec.NonResourceAttributes})
	return review, err
}

func (h *Handler) reviewLocalAccess(_ context.Context, c *call, o runtime.Object) (runtime.Object, error) {
	review := o.(*authorizationv1.LocalSubjectAccessReview)
	if review.Namespace != "" && review.Namespace != c.info.Namespace {
		return nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	review.Namespace = c.info.Namespace
	var err error
	review.Status, err = h.access(question{kind: "LocalSubjectAccessReview", meta: &review.ObjectMeta, identity: subject(review.Spec),
		resource: review.Spec.ResourceAttributes, path: review.Spec.NonResourceAttributes, namespace: c.info.Namespace})
	return review, err
}

func subject(spec authorizationv1.SubjectAccessReviewSpec) txn.Identity {
	identity := txn.Identity{Name: spec.User, UID: spec.UID, Groups: slices.Clone(spec.Groups)}
	for key, values := range spec.Extra {
		if identity.Extra == nil {
			identity.Extra = map[string][]string{}
		}
		identity.Extra[strings.ToLower(key)] = values
	}
	return identity
}

// access asks the authorizer what a review asks. A selector that cannot be
// understood is left out, so that the answer is one about more, and said so.
func (h *Handler) access(q question) (authorizationv1.SubjectAccessReviewStatus, error) {
	var status authorizationv1.SubjectAccessReviewStatus
	if errs := q.validate(); len(errs) > 0 {
		return status, apierrors.NewInvalid(schema.GroupKind{Group: authorizationv1.GroupName, Kind: q.kind}, "", errs)
	}
	var a write.Attributes
	var ignored []string
	if q.path != nil {
		a.Verb, a.Path = q.path.Verb, q.path.Path
	} else {
		r := q.resource
		a = write.Attributes{Verb: r.Verb, Resource: schema.GroupResource{Group: r.Group, Resource: r.Resource},
			Version: r.Version, Subresource: r.Subresource, Namespace: r.Namespace, Name: r.Name}
		var err error
		if a.FieldSelector, err = fieldSelectorText(r.FieldSelector); err != nil {
			ignored = append(ignored, "spec.resourceAttributes.fieldSelector partly or wholly ignored: "+err.Error())
		}
		if a.LabelSelector, err = labelSelectorText(r.LabelSelector); err != nil {
			ignored = append(ignored, "spec.resourceAttributes.labelSelector partly or wholly ignored: "+err.Error())
		}
	}
	decision := h.Authorizer.Authorize(h.reader.Snapshot(), q.identity, a)
	status.Allowed, status.Reason, status.EvaluationError = decision.Allowed, decision.Reason, strings.Join(ignored, "; ")
	return status, nil
}

// validate checks the question as Kubernetes does.
func (q question) validate() field.ErrorList {
	var errs field.ErrorList
	spec, bare := field.NewPath("spec"), q.meta.DeepCopy()
	bare.ManagedFields = nil
	what := "must be empty"
	if q.namespace != "" {
		bare.Namespace, what = "", "must be empty except for namespace"
	}
	if !equality.Semantic.DeepEqual(bare, &metav1.ObjectMeta{}) {
		errs = append(errs, field.Invalid(field.NewPath("metadata"), q.meta, what))
	}
	switch {
	case q.resource != nil && q.path != nil:
		errs = append(errs, field.Invalid(spec.Child("nonResourceAttributes"), q.path, "cannot be specified in combination with resourceAttributes"))
	case q.resource == nil && q.path == nil:
		errs = append(errs, field.Invalid(spec.Child("resourceAttributes"), q.resource, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if q.identity.Name == "" && len(q.identity.Groups) == 0 {
		errs = append(errs, field.Invalid(spec.Child("user"), q.identity.Name, "at least one of user or group must be specified"))
	}
	if q.namespace != "" && q.path != nil {
		errs = append(errs, field.Invalid(spec.Child("nonResourceAttributes"), q.path, "disallowed on this kind of request"))
	}
	if q.resource == nil {
		return errs
	}
	at := spec.Child("resourceAttributes")
	if q.namespace != "" && q.resource.Namespace != q.namespace {
		errs = append(errs, field.Invalid(at.Child("namespace"), q.resource.Namespace, "must match metadata.namespace"))
	}
	errs = append(errs, validateFieldSelector(at.Child("fieldSelector"), q.resource.FieldSelector)...)
	return append(errs, validateLabelSelector(at.Child("labelSelector"), q.resource.LabelSelector)...)
}

func (h *Handler) reviewRules(_ context.Context, c *call, o runtime.Object) (runtime.Object, error) {
	review := o.(*authorizationv1.SelfSubjectRulesReview)
	if review.Spec.Namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	review.Status.ResourceRules, review.Status.NonResourceRules = []authorizationv1.ResourceRule{}, []authorizationv1.NonResourceRule{}
	rules, missing := h.Rules(h.reader.Snapshot(), c.identity, review.Spec.Namespace)
	review.Status.Incomplete, review.Status.EvaluationError = missing != "", missing
	for _, rule := range rules {
		if len(rule.NonResourceURLs) > 0 {
			review.Status.NonResourceRules = append(review.Status.NonResourceRules,
				authorizationv1.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
			continue
		}
		review.Status.ResourceRules = append(review.Status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames})
	}
	return review, nil
}
