package rest

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
	"github.com/headway-sh/headway/apiserver/write"
)

// target is the kind that the request's body is of.
func (c *call) target() schema.GroupVersionKind {
	if sub, ok := c.kind.Subresources[c.info.Subresource]; ok && sub.GVK.Kind != "" {
		return sub.GVK
	}
	return c.kind.GVK
}

// change begins the change that the request asks for.
func (c *call) change(verb txn.Verb, name string) txn.Change {
	ref := txn.Ref{Resource: c.kind.Served(), Namespace: c.namespace(), Name: name}
	return txn.Change{Verb: verb, Ref: ref, Version: c.info.Version, Subresource: c.info.Subresource}
}

// manager is the field manager: the one asked for, or the client's own name.
func manager(r *http.Request, asked string) string {
	if asked != "" {
		return asked
	}
	name, _, _ := strings.Cut(r.UserAgent(), "/")
	name = strings.Map(func(c rune) rune {
		if c < 0x20 || c == 0x7f {
			return -1
		}
		return c
	}, name)
	return name[:min(len(name), 128)]
}

// validationOf is the field validation asked for; requests that do not ask get
// warnings.
func validationOf(asked string) string {
	if asked == "" {
		return metav1.FieldValidationWarn
	}
	return asked
}

// body reads and decodes the object that a create or update carries.
func (h *Handler) body(w http.ResponseWriter, r *http.Request, c *call, validation string) (txn.Object, error) {
	o, err := h.decodeObject(w, r, c, validation)
	if err != nil {
		return nil, err
	}
	out, ok := o.(txn.Object)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%T has no metadata", o))
	}
	return out, nil
}

// serveCreate answers POST on a collection or a creating subresource.
func (h *Handler) serveCreate(w http.ResponseWriter, r *http.Request, c *call) error {
	if c.kind.Namespaced && c.info.Namespace == "" || (c.info.Name != "" && c.info.Subresource == "") {
		return c.notAllowed()
	}
	query := r.URL.Query()
	options := &metav1.CreateOptions{}
	if err := metav1.Convert_url_Values_To_v1_CreateOptions(&query, options, nil); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if errs := metav1validation.ValidateCreateOptions(options); len(errs) > 0 {
		return invalidOptions("CreateOptions", errs)
	}
	validation := validationOf(options.FieldValidation)
	o, err := h.body(w, r, c, validation)
	if err != nil {
		return err
	}
	name := c.info.Name
	if name == "" {
		name = o.GetName()
	}
	change := c.change(txn.Create, name)
	change.Object, change.FieldValidation, change.FieldManager = o, validation, manager(r, options.FieldManager)
	return h.write(w, r, c, change, len(options.DryRun) > 0)
}

// serveUpdate answers PUT.
func (h *Handler) serveUpdate(w http.ResponseWriter, r *http.Request, c *call) error {
	query := r.URL.Query()
	options := &metav1.UpdateOptions{}
	if err := metav1.Convert_url_Values_To_v1_UpdateOptions(&query, options, nil); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if errs := metav1validation.ValidateUpdateOptions(options); len(errs) > 0 {
		return invalidOptions("UpdateOptions", errs)
	}
	validation := validationOf(options.FieldValidation)
	o, err := h.body(w, r, c, validation)
	if err != nil {
		return err
	}
	change := c.change(txn.Update, c.info.Name)
	change.Object, change.FieldValidation, change.FieldManager = o, validation, manager(r, options.FieldManager)
	return h.write(w, r, c, change, len(options.DryRun) > 0)
}

// What patches may be written as. How lists of custom resources merge is known
// to server-side apply only.
var (
	patchMedia       = []types.PatchType{types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType, types.ApplyYAMLPatchType, types.ApplyCBORPatchType}
	customPatchMedia = []types.PatchType{types.JSONPatchType, types.MergePatchType, types.ApplyYAMLPatchType, types.ApplyCBORPatchType}
)

// servePatch answers PATCH of every type.
func (h *Handler) servePatch(w http.ResponseWriter, r *http.Request, c *call) error {
	if c.info.Name == "" {
		return c.notAllowed()
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	patchType := types.PatchType(media)
	served := patchMedia
	if _, custom := c.kind.New().(*unstructured.Unstructured); custom {
		served = customPatchMedia
	}
	if err != nil || !slices.Contains(served, patchType) {
		names := make([]string, len(served))
		for i, t := range served {
			names[i] = string(t)
		}
		return unsupportedMedia(names...)
	}
	query := r.URL.Query()
	options := &metav1.PatchOptions{}
	if err := metav1.Convert_url_Values_To_v1_PatchOptions(&query, options, nil); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if errs := metav1validation.ValidatePatchOptions(options, patchType); len(errs) > 0 {
		return invalidOptions("PatchOptions", errs)
	}
	b, err := h.readBody(w, r)
	if err != nil {
		return err
	}
	change := c.change(txn.Patch, c.info.Name)
	change.FieldValidation = validationOf(options.FieldValidation)
	change.FieldManager = manager(r, options.FieldManager)
	if patchType == types.ApplyYAMLPatchType || patchType == types.ApplyCBORPatchType {
		change.Verb, change.FieldManager = txn.Apply, options.FieldManager
		change.Force = options.Force != nil && *options.Force
		if change.Object, err = applied(w, b, patchType, change.FieldValidation); err != nil {
			return err
		}
		auditOf(w).asked(change.Object.GetObjectKind().GroupVersionKind(), change.Object)
		return h.write(w, r, c, change, len(options.DryRun) > 0)
	}
	auditOf(w).patched(b)
	if err := checkBounds(b, mediaJSON); err != nil {
		return err
	}
	if patchType == types.JSONPatchType {
		if err := checkOperations(b); err != nil {
			return err
		}
	}
	change.Patch, change.PatchType = b, patchType
	return h.write(w, r, c, change, len(options.DryRun) > 0)
}

// checkOperations bounds a JSON patch.
func checkOperations(b []byte) error {
	var operations []json.RawMessage
	if err := json.Unmarshal(b, &operations); err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if len(operations) > maxPatchOperations {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d",
			maxPatchOperations, len(operations)))
	}
	return nil
}

// applied decodes what server-side apply sends: only the fields that the
// manager wants to own.
func applied(w http.ResponseWriter, b []byte, media types.PatchType, validation string) (txn.Object, error) {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	if media == types.ApplyCBORPatchType {
		// A key that occurs twice is an error in CBOR.
		if err := direct.Unmarshal(b, &u.Object); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding CBOR: %v", err))
		}
	} else if err := appliedYAML(w, b, u, validation); err != nil {
		return nil, err
	}
	if u.GetAPIVersion() == "" || u.GetKind() == "" {
		return nil, apierrors.NewBadRequest("apiVersion and kind must be set in what is applied")
	}
	return u, nil
}

// appliedYAML decodes YAML or JSON.
func appliedYAML(w http.ResponseWriter, b []byte, u *unstructured.Unstructured, validation string) error {
	if err := checkBounds(b, mediaYAML); err != nil {
		return err
	}
	plain, err := yaml.YAMLToJSON(b)
	if err == nil {
		err = utiljson.Unmarshal(plain, &u.Object) // whole numbers stay whole
	}
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if validation == metav1.FieldValidationIgnore {
		return nil
	}
	var twice map[string]any
	if err := yaml.UnmarshalStrict(b, &twice); err != nil {
		if validation == metav1.FieldValidationStrict {
			return apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", err))
		}
		addWarning(w, err.Error())
	}
	return nil
}

// write hands a change to the write path and answers with what it left.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, c *call, change txn.Change, dryRun bool) error {
	done, err := h.Writer.Do(r.Context(), c.identity, change, write.Options{DryRun: dryRun})
	auditOf(w).told(done.Told)
	for _, text := range done.Warnings {
		addWarning(w, text)
	}
	if err != nil {
		return err
	}
	code := http.StatusOK
	if done.Operation == txn.Created || change.Verb == txn.Create {
		code = http.StatusCreated
	}
	sub, isSub := c.kind.Subresources[change.Subresource]
	switch {
	case done.Object == nil || (change.Verb == txn.Delete && done.Operation == txn.Deleted):
		h.answerStatus(w, r, deleted(c, done.Object))
		return nil
	case isSub && sub.Get != nil:
		return h.answerMade(w, r, code, c.kind, sub, done.Object)
	case isSub && sub.Set != nil && sub.GVK.Kind != "":
		// A creating subresource such as binding has nothing to show.
		h.answerStatus(w, r, &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
			Status: metav1.StatusSuccess, Code: http.StatusCreated})
		return nil
	}
	e := done.Entry
	if e == nil {
		e = &store.Entry{Ref: change.Ref, Object: done.Object}
	}
	return h.answerEntry(w, r, code, c.kind, e)
}
