package rest

import (
	"fmt"
	"net/http"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/write"
)

// serveEviction deletes a pod as its disruption budget allows.
func (h *Handler) serveEviction(w http.ResponseWriter, r *http.Request, c *call) error {
	if c.info.Verb != "create" {
		return c.notAllowed()
	}
	query := r.URL.Query()
	options := &metav1.CreateOptions{}
	if err := metav1.Convert_url_Values_To_v1_CreateOptions(&query, options, nil); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	o, err := h.decodeBody(w, r, policyv1.SchemeGroupVersion.WithKind("Eviction"), validationOf(options.FieldValidation))
	if err != nil {
		return err
	}
	eviction, ok := o.(*policyv1.Eviction)
	if !ok {
		return fmt.Errorf("decoded a %T for an Eviction", o)
	}
	if eviction.Name != "" && eviction.Name != c.info.Name {
		return apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	pod := c.kind.Ref(c.namespace(), c.info.Name)
	done, err := h.Writer.Evict(r.Context(), c.identity, pod, eviction, write.Options{DryRun: len(options.DryRun) > 0})
	auditOf(w).told(done.Told)
	for _, text := range done.Warnings {
		addWarning(w, text)
	}
	if err != nil {
		return err
	}
	a, err := negotiate(r, true)
	if err != nil {
		return err
	}
	h.answerObject(w, r, http.StatusCreated, a, schema.GroupVersionKind{Version: "v1", Kind: "Status"},
		&metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess, Code: http.StatusCreated})
	return nil
}
