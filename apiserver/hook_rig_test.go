package apiserver_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/internal/pki"
)

// hookServer is a webhook of the test: it answers each question and remembers
// them.
type hookServer struct {
	*httptest.Server
	ca []byte

	mu    sync.Mutex // guards asked
	asked []admissionv1.AdmissionRequest
}

// answering starts a webhook that answers with what the function says; nil
// allows. It can be reached under the name of a service, too.
func answering(t *testing.T, answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) *hookServer {
	t.Helper()
	h := &hookServer{}
	h.start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &review)
		}
		if err != nil || review.Request == nil {
			http.Error(w, "no review", http.StatusBadRequest)
			return
		}
		h.mu.Lock()
		h.asked = append(h.asked, *review.Request)
		h.mu.Unlock()
		response := answer(review.Request)
		if response == nil {
			response = &admissionv1.AdmissionResponse{Allowed: true}
		}
		response.UID = review.Request.UID
		review.Request, review.Response = nil, response
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(&review); err != nil {
			t.Error(err)
		}
	}))
	return h
}

// serving starts a webhook that answers as the handler does.
func serving(t *testing.T, handler http.HandlerFunc) *hookServer {
	t.Helper()
	h := &hookServer{}
	h.start(t, handler)
	return h
}

func (h *hookServer) start(t *testing.T, handler http.Handler) {
	t.Helper()
	ca, err := pki.LoadOrCreateCA(t.TempDir(), "hooks", time.Now())
	check(t, err)
	cert, key, err := ca.Issue(pki.Request{CommonName: "hook", DNSNames: []string{"hook.guard.svc"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Server: true}, time.Now())
	check(t, err)
	pair, err := tls.X509KeyPair(cert, key)
	check(t, err)
	h.ca = ca.PEM
	h.Server = httptest.NewUnstartedServer(handler)
	h.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.StartTLS()
	t.Cleanup(h.Close)
}

func (h *hookServer) questions() []admissionv1.AdmissionRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]admissionv1.AdmissionRequest(nil), h.asked...)
}

func (h *hookServer) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = nil
}

// forConfigMaps is the rule of most tests.
func forConfigMaps(operations ...registrationv1.OperationType) []registrationv1.RuleWithOperations {
	return []registrationv1.RuleWithOperations{{Operations: operations, Rule: registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}}}}
}

// validating registers a validating webhook for the creation of config maps in
// namespaces other than kube-system.
func (h *hookServer) validating(t *testing.T, client kubernetes.Interface, name string, change ...func(*registrationv1.ValidatingWebhook)) {
	t.Helper()
	w := registrationv1.ValidatingWebhook{
		Name: name + ".example.com", ClientConfig: registrationv1.WebhookClientConfig{URL: ptr.To(h.URL + "/check"), CABundle: h.ca},
		Rules: forConfigMaps("CREATE"), SideEffects: ptr.To(registrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
	for _, c := range change {
		c(&w)
	}
	_, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(),
		&registrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []registrationv1.ValidatingWebhook{w}}, metav1.CreateOptions{})
	check(t, err)
}

// mutating registers a mutating webhook likewise.
func (h *hookServer) mutating(t *testing.T, client kubernetes.Interface, name string, change ...func(*registrationv1.MutatingWebhook)) {
	t.Helper()
	w := registrationv1.MutatingWebhook{
		Name: name + ".example.com", ClientConfig: registrationv1.WebhookClientConfig{URL: ptr.To(h.URL), CABundle: h.ca},
		Rules: forConfigMaps("CREATE"), SideEffects: ptr.To(registrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
	for _, c := range change {
		c(&w)
	}
	_, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(),
		&registrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []registrationv1.MutatingWebhook{w}}, metav1.CreateOptions{})
	check(t, err)
}

// patch is an answer that changes the object.
func patch(text string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte(text), PatchType: ptr.To(admissionv1.PatchTypeJSONPatch)}
}

// deny is an answer that refuses.
func deny(message string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: message}}
}
