package rest

import (
	"context"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// virtualKey names a resource that is never stored.
type virtualKey struct{ group, version, resource string }

// virtual is a resource that exists only in answers: POST asks, the answer is
// the same object with its status filled in.
type virtual struct {
	kind       string
	namespaced bool
	answer     func(ctx context.Context, c *call, o runtime.Object) (runtime.Object, error)
}

// virtuals are the reviews. Their discovery is VirtualResources.
func (h *Handler) virtuals() map[virtualKey]virtual {
	m := map[virtualKey]virtual{
		{"authentication.k8s.io", "v1", "tokenreviews"}:             {"TokenReview", false, h.reviewToken},
		{"authentication.k8s.io", "v1", "selfsubjectreviews"}:       {"SelfSubjectReview", false, h.reviewSelf},
		{"authorization.k8s.io", "v1", "subjectaccessreviews"}:      {"SubjectAccessReview", false, h.reviewAccess},
		{"authorization.k8s.io", "v1", "selfsubjectaccessreviews"}:  {"SelfSubjectAccessReview", false, h.reviewOwnAccess},
		{"authorization.k8s.io", "v1", "localsubjectaccessreviews"}: {"LocalSubjectAccessReview", true, h.reviewLocalAccess},
	}
	if h.Rules != nil {
		m[virtualKey{"authorization.k8s.io", "v1", "selfsubjectrulesreviews"}] = virtual{"SelfSubjectRulesReview", false, h.reviewRules}
	}
	return m
}

// VirtualResources is what discovery says about the resources that are served
// without being stored, by their group and version.
func VirtualResources() map[schema.GroupVersion][]metav1.APIResource {
	create := metav1.Verbs{"create"}
	return map[schema.GroupVersion][]metav1.APIResource{
		authenticationv1.SchemeGroupVersion: {
			{Name: "selfsubjectreviews", SingularName: "selfsubjectreview", Kind: "SelfSubjectReview", Verbs: create},
			{Name: "tokenreviews", SingularName: "tokenreview", Kind: "TokenReview", Verbs: create},
		},
		authorizationv1.SchemeGroupVersion: {
			{Name: "localsubjectaccessreviews", SingularName: "localsubjectaccessreview", Namespaced: true, Kind: "LocalSubjectAccessReview", Verbs: create},
			{Name: "selfsubjectaccessreviews", SingularName: "selfsubjectaccessreview", Kind: "SelfSubjectAccessReview", Verbs: create},
			{Name: "selfsubjectrulesreviews", SingularName: "selfsubjectrulesreview", Kind: "SelfSubjectRulesReview", Verbs: create},
			{Name: "subjectaccessreviews", SingularName: "subjectaccessreview", Kind: "SubjectAccessReview", Verbs: create},
		},
	}
}

// serveVirtual answers a request for a virtual resource.
func (h *Handler) serveVirtual(w http.ResponseWriter, r *http.Request, c *call, v virtual) error {
	if c.info.Verb != "create" || c.info.Name != "" || v.namespaced != (c.info.Namespace != "") {
		return c.notAllowed()
	}
	query := r.URL.Query()
	options := &metav1.CreateOptions{}
	if err := metav1.Convert_url_Values_To_v1_CreateOptions(&query, options, nil); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	gvk := schema.GroupVersionKind{Group: c.info.Group, Version: c.info.Version, Kind: v.kind}
	o, err := h.decodeBody(w, r, gvk, validationOf(options.FieldValidation))
	if err != nil {
		return err
	}
	if o, err = v.answer(r.Context(), c, o); err != nil {
		return err
	}
	a, err := negotiate(r, true)
	if err != nil {
		return err
	}
	h.answerObject(w, r, http.StatusCreated, accepted{media: a.media, pretty: a.pretty}, gvk, o)
	return nil
}

// decodeBody reads the body as a kind.
func (h *Handler) decodeBody(w http.ResponseWriter, r *http.Request, gvk schema.GroupVersionKind, validation string) (runtime.Object, error) {
	return h.decodeInto(w, r, gvk, nil, validation)
}

// decodeObject reads the body as what the call is about.
func (h *Handler) decodeObject(w http.ResponseWriter, r *http.Request, c *call, validation string) (runtime.Object, error) {
	if gvk := c.target(); c.kind.Shape == nil || gvk != c.kind.GVK {
		return h.decodeInto(w, r, gvk, nil, validation)
	}
	return h.decodeInto(w, r, c.kind.GVK, c.kind.New(), validation)
}

func (h *Handler) decodeInto(w http.ResponseWriter, r *http.Request, gvk schema.GroupVersionKind, into runtime.Object, validation string) (runtime.Object, error) {
	media, err := bodyMedia(r)
	if err != nil {
		return nil, err
	}
	b, err := h.readBody(w, r)
	if err != nil {
		return nil, err
	}
	o, err := h.codec.decode(b, media, gvk, into, validation, func(text string) { addWarning(w, text) })
	if err == nil {
		auditOf(w).asked(gvk, o)
	}
	return o, err
}

func (h *Handler) reviewSelf(_ context.Context, c *call, o runtime.Object) (runtime.Object, error) {
	review := o.(*authenticationv1.SelfSubjectReview)
	review.Status.UserInfo = userInfo(c.identity)
	return review, nil
}

func userInfo(identity txn.Identity) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: identity.Name, UID: identity.UID, Groups: identity.Groups}
	for key, values := range identity.Extra {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[key] = values
	}
	return info
}

func (h *Handler) reviewToken(ctx context.Context, _ *call, o runtime.Object) (runtime.Object, error) {
	review := o.(*authenticationv1.TokenReview)
	if review.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	snapshot, err := h.reader.Current(ctx)
	if err != nil {
		return nil, err
	}
	identity, audiences, err := h.Authenticator.Token(ctx, snapshot, review.Spec.Token, review.Spec.Audiences)
	if err != nil {
		review.Status = authenticationv1.TokenReviewStatus{Error: err.Error()}
		return review, nil
	}
	review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: userInfo(identity), Audiences: audiences}
	return review, nil
}
