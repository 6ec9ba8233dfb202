package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	utiljson "sigs.k8s.io/json"

	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

var reviewGVK = admissionv1.SchemeGroupVersion.WithKind("AdmissionReview")

// question is the AdmissionReview that asks about a request in one version.
func question(r *write.Request, as *kind.Kind) (types.UID, []byte, error) {
	subject, err := r.Subject(as)
	if err != nil {
		return "", nil, err
	}
	uid := types.UID(uuid.NewUUID())
	asked := subject.Kind
	if asked == as.GVK {
		asked = r.Served.GVK
	}
	id := r.Identity
	user := authenticationv1.UserInfo{Username: id.Name, UID: id.UID, Groups: id.Groups}
	if len(id.Extra) > 0 {
		user.Extra = make(map[string]authenticationv1.ExtraValue, len(id.Extra))
		for key, values := range id.Extra {
			user.Extra[key] = values
		}
	}
	namespace := r.Ref.Namespace
	if r.Kind.GVK.Group == "" && r.Kind.GVK.Kind == "Namespace" {
		namespace = r.Ref.Name
	}
	b, err := json.Marshal(&admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: reviewGVK.GroupVersion().String(), Kind: reviewGVK.Kind},
		Request: &admissionv1.AdmissionRequest{
			UID: uid, Kind: metaKind(subject.Kind), Resource: metaResource(subject.Resource), SubResource: subject.Subresource,
			RequestKind: new(metaKind(asked)), RequestResource: new(metaResource(r.Served.GVR())), RequestSubResource: subject.Subresource,
			Name: r.Ref.Name, Namespace: namespace, Operation: admissionv1.Operation(r.Operation), UserInfo: user,
			Object: runtime.RawExtension{Object: subject.Object}, OldObject: runtime.RawExtension{Object: subject.Old},
			DryRun: &r.DryRun, Options: runtime.RawExtension{Object: r.Options()},
		},
	})
	if err != nil {
		return "", nil, fmt.Errorf("encode the question: %w", err)
	}
	return uid, b, nil
}

func metaKind(k schema.GroupVersionKind) metav1.GroupVersionKind {
	return metav1.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}
}

func metaResource(r schema.GroupVersionResource) metav1.GroupVersionResource {
	return metav1.GroupVersionResource{Group: r.Group, Version: r.Version, Resource: r.Resource}
}

// read decodes and checks an answer.
func read(b []byte, uid types.UID, mutating bool) (*admissionv1.AdmissionResponse, error) {
	var review admissionv1.AdmissionReview
	if err := utiljson.UnmarshalCaseSensitivePreserveInts(b, &review); err != nil {
		return nil, fmt.Errorf("decode the answer: %w", err)
	}
	r := review.Response
	switch {
	case r == nil:
		return nil, errors.New("webhook response was absent")
	case r.UID != uid:
		return nil, fmt.Errorf("expected response.uid=%q, got %q", uid, r.UID)
	case review.GroupVersionKind() != reviewGVK:
		return nil, fmt.Errorf("expected webhook response of %v, got %v", reviewGVK, review.GroupVersionKind())
	case !mutating && len(r.Patch) > 0:
		return nil, errors.New("validating webhook may not return response.patch")
	case !mutating && r.PatchType != nil:
		return nil, errors.New("validating webhook may not return response.patchType")
	case len(r.Patch) > 0 && r.PatchType == nil:
		return nil, errors.New("webhook returned response.patch but not response.patchType")
	case len(r.Patch) == 0 && r.PatchType != nil:
		return nil, errors.New("webhook returned response.patchType but not response.patch")
	case r.PatchType != nil && *r.PatchType != admissionv1.PatchTypeJSONPatch:
		return nil, fmt.Errorf("webhook returned invalid response.patchType of %q", *r.PatchType)
	}
	return r, nil
}

const (
	// maxWarnings bounds what a webhook may say to the writer, bytes.
	maxWarnings = 4 << 10
	// maxAnnotations bounds what it may add to the audit, bytes.
	maxAnnotations = 16 << 10
)

// tell hands the webhook's warnings and audit annotations on.
func tell(r *write.Request, h *hook, answer *admissionv1.AdmissionResponse) {
	left := maxWarnings
	for _, text := range answer.Warnings {
		if left -= len(text); left < 0 {
			break
		}
		r.Warn(text)
	}
	left = maxAnnotations
	for _, key := range slices.Sorted(maps.Keys(answer.AuditAnnotations)) {
		value := answer.AuditAnnotations[key]
		if left -= len(key) + len(value); left < 0 {
			break
		}
		r.Annotate(h.name+"/"+key, value)
	}
}
