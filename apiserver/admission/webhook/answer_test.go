package webhook_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/txntest"
	"github.com/headway-sh/headway/apiserver/admission/webhook"
)

// FuzzAnswer: whatever a webhook says is a checked answer or an error.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"u","allowed":true}}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"u","allowed":true,"patch":"W10=","patchType":"JSONPatch"}}`,
		`{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","response":{"uid":"u"}}`,
		`{"response":{"uid":"u","status":{"code":200}}}`, `[]`, `{"response":null}`, ``,
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, answer []byte, mutating bool) {
		r, err := webhook.Read(answer, "u", mutating)
		if err != nil {
			return
		}
		if r.UID != "u" || (len(r.Patch) > 0) != (r.PatchType != nil) || len(r.Patch) > 0 && !mutating {
			t.Errorf("accepted %+v", r)
		}
		if !r.Allowed {
			var status apierrors.APIStatus
			if s := webhook.Refusal("w", r.Result); !asStatus(s, &status) || status.Status().Code < http.StatusBadRequest || status.Status().Status != metav1.StatusFailure {
				t.Errorf("refused with %v", s)
			}
		}
	})
}

func asStatus(err error, into *apierrors.APIStatus) (ok bool) {
	*into, ok = err.(apierrors.APIStatus)
	return ok
}

func TestAnswerMustFit(t *testing.T) {
	t.Parallel()
	review := func(r admissionv1.AdmissionResponse) []byte {
		b, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Response: &r})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	json6902, other := admissionv1.PatchTypeJSONPatch, admissionv1.PatchType("Merge")
	for name, tt := range map[string]struct {
		answer admissionv1.AdmissionResponse
		want   string
	}{
		"fits":         {admissionv1.AdmissionResponse{UID: "u", Patch: []byte("[]"), PatchType: &json6902}, ""},
		"uid":          {admissionv1.AdmissionResponse{UID: "v"}, `expected response.uid="u", got "v"`},
		"patch alone":  {admissionv1.AdmissionResponse{UID: "u", Patch: []byte("[]")}, "webhook returned response.patch but not response.patchType"},
		"type alone":   {admissionv1.AdmissionResponse{UID: "u", PatchType: &json6902}, "webhook returned response.patchType but not response.patch"},
		"another type": {admissionv1.AdmissionResponse{UID: "u", Patch: []byte("{}"), PatchType: &other}, `webhook returned invalid response.patchType of "Merge"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := webhook.Read(review(tt.answer), "u", true)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestEndpoint finds ready endpoints that are worth dialling, by the port's name.
func TestEndpoint(t *testing.T) {
	t.Parallel()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "guard", Name: "hook"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "metrics", Port: 80}, {Name: "https", Port: 443}}}}
	external := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "guard", Name: "far"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "hooks.example.com"}}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "guard", Name: "hook-1", Labels: map[string]string{discoveryv1.LabelServiceName: "hook"}},
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("metrics"), Port: ptr.To[int32](9090)}, {Name: ptr.To("https"), Port: ptr.To[int32](8443)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}},
			{Addresses: []string{"127.0.0.1"}}, {Addresses: []string{"169.254.169.254"}}, {Addresses: []string{"10.0.0.2"}},
		}}
	pending := map[txn.Ref]txn.Object{}
	for resource, o := range map[string]txn.Object{"services": service, "services/far": external, "endpointslices": slice} {
		ref := txn.Ref{Namespace: "guard", Name: o.GetName()}
		ref.Resource.Resource, _, _ = strings.Cut(resource, "/")
		if ref.Resource.Resource == "endpointslices" {
			ref.Resource.Group = discoveryv1.GroupName
		}
		pending[ref] = o
	}
	base, err := txntest.New(clock.RealClock{}).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	view := txn.Overlay(base, pending, nil)
	for name, tt := range map[string]struct {
		service string
		port    int32
		want    string
	}{
		"ready":         {"hook", 443, "10.0.0.2:8443"},
		"external name": {"far", 443, "hooks.example.com:443"},
		"another port":  {"hook", 8443, `no service port 8443 found for service "hook"`},
		"no service":    {"none", 443, `services "none" not found`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := webhook.Endpoint(view, "guard", tt.service, tt.port)
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
