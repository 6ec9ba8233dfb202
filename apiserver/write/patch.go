package write

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"github.com/headway-sh/headway/api/txn"
)

const (
	// maxPatchOperations bounds a JSON patch.
	maxPatchOperations = 10000
	// maxCopied bounds what the copy operations of a JSON patch may add up to:
	// a few dozen could fill the memory otherwise.
	maxCopied = 3 << 20
)

func copyOf(o txn.Object) txn.Object { return o.DeepCopyObject().(txn.Object) }

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

func (a *attempt) patch(ctx context.Context) error {
	if a.old == nil {
		return a.notFound()
	}
	gvk := a.target()
	current, err := a.current()
	if err != nil {
		return err
	}
	before, err := toMap(current, gvk)
	if err != nil {
		return err
	}
	after, err := a.patched(before, current)
	if err != nil {
		return err
	}
	o, err := a.fromMap(after, gvk)
	if err != nil {
		return err
	}
	if err := a.sameName(o); err != nil {
		return err
	}
	if o, err = a.stored(o); err != nil {
		return err
	}
	return a.replace(ctx, o)
}

// current is what the change is about, in the version that it is written in.
func (a *attempt) current() (txn.Object, error) {
	if a.sub != nil && a.sub.Get != nil {
		return a.sub.Get(a.old)
	}
	return a.kind.FromStored(a.old)
}

func (a *attempt) patched(before map[string]any, typed txn.Object) (map[string]any, error) {
	switch a.change.PatchType {
	case types.JSONPatchType:
		return jsonPatch(before, a.change.Patch)
	case types.MergePatchType:
		patch, err := a.patchMap()
		if err != nil {
			return nil, err
		}
		return mergePatch(before, patch), nil
	case types.StrategicMergePatchType:
		if _, custom := typed.(*unstructured.Unstructured); custom {
			return nil, apierrors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "patch", a.kind.Served(), a.change.Ref.Name,
				"strategic merge patches are not supported for custom resources", 0, false)
		}
		patch, err := a.patchMap()
		if err != nil {
			return nil, err
		}
		return strategicPatch(before, patch, typed)
	}
	return nil, apierrors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "patch", schema.GroupResource{}, "",
		fmt.Sprintf("the body of the request was in an unknown format: %q", a.change.PatchType), 0, false)
}

// patchMap is a patch that has the shape of an object. What occurs twice in it
// is dealt with as the change's field validation says.
func (a *attempt) patchMap() (map[string]any, error) {
	patch := map[string]any{}
	twice, err := kjson.UnmarshalStrict(a.change.Patch, &patch)
	switch {
	case err != nil:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	case len(twice) == 0 || a.change.FieldValidation == metav1.FieldValidationIgnore:
	case a.change.FieldValidation == metav1.FieldValidationWarn:
		for _, e := range twice {
			a.warn(e.Error())
		}
	default:
		return nil, a.invalidPatch(runtime.NewStrictDecodingError(twice))
	}
	return patch, nil
}

// invalidPatch is the 422 for what field validation finds in a patch.
func (a *attempt) invalidPatch(err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{
		field.Invalid(field.NewPath("patch"), string(a.change.Patch), err.Error())})
}

func jsonPatch(before map[string]any, patch []byte) (map[string]any, error) {
	operations, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if len(operations) > maxPatchOperations {
		return nil, apierrors.NewRequestEntityTooLargeError(
			fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, len(operations)))
	}
	document, err := json.Marshal(before)
	if err != nil {
		return nil, err
	}
	options := jsonpatch.NewApplyOptions()
	options.AccumulatedCopySizeLimit = maxCopied
	document, err = operations.ApplyWithOptions(document, options)
	var copied *jsonpatch.AccumulatedCopySizeError
	if errors.As(err, &copied) {
		return nil, apierrors.NewRequestEntityTooLargeError(err.Error())
	}
	if err != nil {
		return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
	}
	after := map[string]any{}
	if err := utiljson.Unmarshal(document, &after); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return after, nil
}

// mergePatch merges by RFC 7386: null removes, objects merge, all else replaces.
func mergePatch(target, patch map[string]any) map[string]any {
	if target == nil {
		target = map[string]any{}
	}
	for key, value := range patch {
		switch v := value.(type) {
		case nil:
			delete(target, key)
		case map[string]any:
			inner, _ := target[key].(map[string]any)
			target[key] = mergePatch(inner, v)
		default:
			target[key] = value
		}
	}
	return target
}

func strategicPatch(before, changes map[string]any, typed txn.Object) (map[string]any, error) {
	lookup, err := strategicpatch.NewPatchMetaFromStruct(typed)
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergeMapPatchUsingLookupPatchMeta(before, changes, lookup)
	switch {
	case err == nil:
		return after, nil
	case mergepatch.IsPreconditionFailed(err):
		return nil, err
	default:
		return nil, apierrors.NewBadRequest(err.Error())
	}
}

// apply is server-side apply: it creates the object where there is none.
func (a *attempt) apply(ctx context.Context) error {
	config, ok := a.change.Object.(*unstructured.Unstructured)
	if !ok {
		return apierrors.NewBadRequest("apply takes the manager's fields as an unstructured object")
	}
	if a.change.FieldManager == "" {
		return a.required("fieldManager", "is required for apply patch")
	}
	config = config.DeepCopy()
	if config.GetName() == "" {
		config.SetName(a.change.Ref.Name)
	}
	if err := a.sameName(config); err != nil {
		return err
	}
	if gvk := a.target(); config.GroupVersionKind().GroupKind() != gvk.GroupKind() {
		return apierrors.NewBadRequest(fmt.Sprintf("%s %s cannot be applied as a %s", config.GetAPIVersion(), config.GetKind(), gvk.Kind))
	}
	// A manager cannot own what the schema does not have, whatever field
	// validation was asked for.
	a.change.FieldValidation = metav1.FieldValidationStrict
	shaped, err := a.fromMap(config.Object, a.target())
	if err != nil {
		return a.untyped(config, err)
	}
	if u, custom := shaped.(*unstructured.Unstructured); custom {
		config = u
	}
	if a.old != nil {
		return a.applyTo(ctx, config)
	}
	if a.sub != nil {
		return a.notFound()
	}
	if uid := config.GetUID(); uid != "" {
		return a.conflict("uid mismatch: the provided object specified uid %s, and no existing object was found", uid)
	}
	if err := a.applyCreates(); err != nil {
		return err
	}
	o, err := a.merged(nil, config)
	if err != nil {
		return err
	}
	o.GetObjectKind().SetGroupVersionKind(a.kind.Stored().GVK)
	a.system(o)
	return a.insert(ctx, o, func() error { return nil })
}

// merged is the live object, nil for none, with the manager's configuration in
// it. What the schema does not take is the writer's mistake.
func (a *attempt) merged(live txn.Object, config *unstructured.Unstructured) (txn.Object, error) {
	o, err := a.path.Fields.Apply(a.kind.Stored(), live, config, a.writer(), a.change.Force)
	if err != nil && !errors.As(err, new(apierrors.APIStatus)) {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return o, err
}

// untyped words a configuration that does not fit its kind as server-side apply
// does where the kind has a schema, and as decoding has worded it otherwise.
func (a *attempt) untyped(config *unstructured.Unstructured, decoding error) error {
	if a.target() != a.kind.GVK {
		return decoding // a subresource's own kind
	}
	if err := a.path.Fields.Check(a.kind, config); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return decoding
}

func (a *attempt) applyCreates() error {
	if a.authorized {
		return nil
	}
	return a.allowed(string(txn.Create), "")
}

func (a *attempt) applyTo(ctx context.Context, config *unstructured.Unstructured) error {
	if err := a.preconditions(config.GetResourceVersion()); err != nil {
		return err
	}
	if a.sub != nil && a.sub.Set != nil {
		return a.applyScale(ctx, config)
	}
	config.SetResourceVersion("")
	o, err := a.merged(a.old, config)
	if err != nil {
		return err
	}
	return a.modify(ctx, o, nil, func() error { return nil })
}

// applyScale gives a manager the number of replicas, wherever the object has it.
func (a *attempt) applyScale(ctx context.Context, config *unstructured.Unstructured) error {
	if len(a.sub.Replicas) == 0 {
		return apierrors.NewMethodNotSupported(a.kind.Served(), "apply to "+a.change.Subresource)
	}
	if uid := config.GetUID(); uid != "" && uid != a.old.GetUID() {
		return a.conflict("Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, a.old.GetUID())
	}
	whole := &unstructured.Unstructured{}
	whole.SetGroupVersionKind(a.kind.GVK)
	whole.SetName(config.GetName())
	whole.SetNamespace(config.GetNamespace())
	if replicas, ok, err := unstructured.NestedFieldNoCopy(config.Object, "spec", "replicas"); err != nil || ok {
		if err := errors.Join(err, unstructured.SetNestedField(whole.Object, replicas, a.sub.Replicas...)); err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
	}
	o, err := a.merged(a.old, whole)
	if err != nil {
		return err
	}
	parameter, err := a.sub.Get(o)
	if err != nil {
		return err
	}
	// Its own rules for the number.
	if _, err := a.sub.Set(a.old, parameter, a.now); err != nil {
		return err
	}
	return a.modify(ctx, o, parameter, func() error { return nil })
}

func (a *attempt) required(what, text string) error {
	err := apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "PatchOptions"}, "", nil)
	err.ErrStatus.Message = fmt.Sprintf("PatchOptions.meta.k8s.io \"\" is invalid: %s: Required value: %s", what, text)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeFieldValueRequired, Message: "Required value: " + text, Field: what}}
	return err
}
