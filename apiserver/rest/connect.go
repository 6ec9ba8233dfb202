package rest

import (
	"fmt"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// serveConnect hands a stream over to the connector.
func (h *Handler) serveConnect(w http.ResponseWriter, r *http.Request, c *call) error {
	if h.Connector == nil {
		notFoundPage(w)
		return nil
	}
	snapshot, err := h.reader.Current(r.Context())
	if err != nil {
		return err
	}
	name := c.info.Name
	if c.info.Subresource == "proxy" { // scheme:name:port
		if _, bare, _, ok := utilnet.SplitSchemeNamePort(name); ok {
			name = bare
		}
	}
	o, ok := snapshot.Get(c.kind.Ref(c.namespace(), name))
	if !ok {
		return apierrors.NewNotFound(c.info.GroupResource(), name)
	}
	switch c.info.Subresource {
	case "exec", "attach", "portforward":
		// A WebSocket begins as a GET, but what it does is no reading.
		create := attributesOf(r, c.info)
		create.Verb = "create"
		if err := h.authorize(c.identity, create); err != nil {
			return err
		}
	}
	return h.Connector.Connect(w, r, c.info, c.identity, o)
}

// serveToken answers a TokenRequest for a service account.
func (h *Handler) serveToken(w http.ResponseWriter, r *http.Request, c *call) error {
	if h.Issuer == nil {
		notFoundPage(w)
		return nil
	}
	if c.info.Verb != "create" {
		return apierrors.NewMethodNotSupported(c.info.GroupResource(), c.info.Verb)
	}
	query := r.URL.Query()
	options := &metav1.CreateOptions{}
	if err := metav1.Convert_url_Values_To_v1_CreateOptions(&query, options, nil); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	o, err := h.decodeBody(w, r, authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), validationOf(options.FieldValidation))
	if err != nil {
		return err
	}
	request, ok := o.(*authenticationv1.TokenRequest)
	if !ok {
		return fmt.Errorf("decoded a %T for a TokenRequest", o)
	}
	snapshot, err := h.reader.Current(r.Context())
	if err != nil {
		return err
	}
	if _, ok := snapshot.Get(c.kind.Ref(c.namespace(), c.info.Name)); !ok {
		return apierrors.NewNotFound(c.info.GroupResource(), c.info.Name)
	}
	issued, err := h.Issuer.Issue(snapshot, c.namespace(), c.info.Name, request)
	if err != nil {
		return err
	}
	a, err := negotiate(r, true)
	if err != nil {
		return err
	}
	h.answerObject(w, r, http.StatusCreated, a, authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), issued)
	return nil
}
