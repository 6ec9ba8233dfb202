package rest

import (
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/write"
)

// deleteOptions reads the options of a deletion: a body, or else the query.
func (h *Handler) deleteOptions(w http.ResponseWriter, r *http.Request) (*metav1.DeleteOptions, error) {
	body, err := h.readBody(w, r)
	if err != nil {
		return nil, err
	}
	options := &metav1.DeleteOptions{}
	if len(body) > 0 {
		media, err := bodyMedia(r)
		if err != nil {
			return nil, err
		}
		// Clients send the options under meta/v1, v1 or the resource's group.
		into := schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"}
		if options, err = h.codec.deleteOptions(body, media, into); err != nil {
			return nil, err
		}
		auditOf(w).asked(metav1.SchemeGroupVersion.WithKind("DeleteOptions"), options)
	} else {
		query := r.URL.Query()
		if err := metav1.Convert_url_Values_To_v1_DeleteOptions(&query, options, nil); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	if errs := metav1validation.ValidateDeleteOptions(options); len(errs) > 0 {
		return nil, invalidOptions("DeleteOptions", errs)
	}
	return options, nil
}

// deleteOptions decodes the options under whatever group they came.
func (c *codec) deleteOptions(body []byte, media string, want schema.GroupVersionKind) (*metav1.DeleteOptions, error) {
	if err := checkBounds(body, media); err != nil {
		return nil, err
	}
	decoder := c.protobuf
	if media != mediaProtobuf {
		decoder = c.loose[media]
	}
	options := &metav1.DeleteOptions{}
	o, got, err := decoder.Decode(body, &want, options)
	if err != nil {
		return nil, undecodable(err, want, got, body)
	}
	decoded, ok := o.(*metav1.DeleteOptions)
	if !ok {
		return nil, apierrors.NewBadRequest("decoded object cannot be converted to DeleteOptions")
	}
	return decoded, nil
}

// deletion makes the change that deletes one object.
func deletion(c *call, name string, o *metav1.DeleteOptions) txn.Change {
	change := c.change(txn.Delete, name)
	change.Preconditions, change.GracePeriod, change.Propagation = o.Preconditions, o.GracePeriodSeconds, o.PropagationPolicy
	if change.Propagation == nil && o.OrphanDependents != nil {
		policy := metav1.DeletePropagationBackground
		if *o.OrphanDependents {
			policy = metav1.DeletePropagationOrphan
		}
		change.Propagation = &policy
	}
	return change
}

// serveDelete answers DELETE on one object.
func (h *Handler) serveDelete(w http.ResponseWriter, r *http.Request, c *call) error {
	options, err := h.deleteOptions(w, r)
	if err != nil {
		return err
	}
	change := deletion(c, c.info.Name, options)
	return h.write(w, r, c, change, len(options.DryRun) > 0)
}

// deleted says that an object is gone.
func deleted(c *call, last txn.Object) *metav1.Status {
	details := &metav1.StatusDetails{Name: c.info.Name, Group: c.kind.GVK.Group, Kind: c.kind.Plural}
	if last != nil {
		details.UID = last.GetUID()
	}
	return &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status: metav1.StatusSuccess, Code: http.StatusOK, Details: details}
}

// serveDeleteCollection deletes what a list with the same selectors shows, and
// answers with that list.
func (h *Handler) serveDeleteCollection(w http.ResponseWriter, r *http.Request, c *call) error {
	if c.kind.Namespaced && c.info.Namespace == "" {
		return c.notAllowed()
	}
	a, err := negotiate(r, hasProtobuf(c.kind.NewList()))
	if err != nil {
		return err
	}
	options, err := h.deleteOptions(w, r)
	if err != nil {
		return err
	}
	listed, err := listOptions(r.URL.Query(), false)
	if err != nil {
		return err
	}
	s, err := newSelector(c.kind, c.info.Namespace, "", listed.LabelSelector, listed.FieldSelector)
	if err != nil {
		return err
	}
	collection := write.Collection{Resource: c.kind.Served(), Version: c.info.Version, Namespace: s.namespace,
		Labels: s.labels, Fields: s.fields, Delete: deletion(c, "", options)}
	gone, warnings, err := h.Writer.DeleteCollection(r.Context(), c.identity, collection, write.Options{DryRun: len(options.DryRun) > 0})
	for _, text := range slices.Compact(slices.Sorted(slices.Values(warnings))) {
		addWarning(w, text)
	}
	if err != nil {
		return err
	}
	part := &chunk{}
	for _, o := range gone {
		part.entries = append(part.entries, &store.Entry{Ref: c.kind.Ref(o.GetNamespace(), o.GetName()), Object: o})
	}
	return h.answerList(w, r, accepted{media: a.media, pretty: a.pretty}, c.kind, part)
}

// addWarning adds a Warning header in the form of RFC 7234: code 299, no
// agent, the text quoted.
func addWarning(w http.ResponseWriter, text string) {
	text = strings.Map(func(c rune) rune {
		if c < 0x20 || c == 0x7f {
			return ' '
		}
		return c
	}, text)
	text = strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), `"`, `\"`)
	w.Header().Add("Warning", `299 - "`+text+`"`)
}
