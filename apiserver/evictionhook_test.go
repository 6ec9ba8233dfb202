package apiserver_test

import (
	"slices"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestWarningsOfEvictionsAreHeard: what a webhook says about an eviction comes
// with the answer, be it let pass or refused.
func TestWarningsOfEvictionsAreHeard(t *testing.T) {
	t.Parallel()
	client, warnings := hearingClient(t, start(t))
	inNamespace(t, client, "shop")
	_, err := client.CoreV1().Pods("shop").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
	check(t, err)
	refuse := true
	hook := answering(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: !refuse, Warnings: []string{"web is needed"}}
	})
	hook.validating(t, client, "needs", func(w *registrationv1.ValidatingWebhook) { w.Rules[0].Resources = []string{"pods/eviction"} })
	for _, allowed := range []bool{false, true} {
		warnings.take()
		refuse = !allowed
		err := client.PolicyV1().Evictions("shop").Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}})
		if got := warnings.take(); (err == nil) != allowed || !slices.Contains(got, "web is needed") {
			t.Errorf("allowed %v: %v, warnings %q", allowed, err, got)
		}
	}
}
