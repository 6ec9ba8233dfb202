package apiserver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

func makeConfigMap(t *testing.T, client kubernetes.Interface, namespace, name string, options metav1.CreateOptions) (*corev1.ConfigMap, error) {
	t.Helper()
	return client.CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}, Data: map[string]string{"made": "here"}}, options)
}

// TestValidatingWebhook looks at what a webhook is asked, and at what becomes
// of its answers.
func TestValidatingWebhook(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	hook := answering(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		switch r.Name {
		case "bad":
			return deny("not this one")
		case "worse":
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Code: http.StatusTeapot, Reason: "Tea"}}
		case "silent":
			return &admissionv1.AdmissionResponse{}
		}
		return &admissionv1.AdmissionResponse{Allowed: true, Warnings: []string{"seen " + r.Name}}
	})
	hook.validating(t, client, "names", func(w *registrationv1.ValidatingWebhook) { w.Rules[0].Operations = []registrationv1.OperationType{"*"} })

	for name, want := range map[string]struct {
		code    int32
		message string
	}{
		"bad":    {http.StatusBadRequest, `admission webhook "names.example.com" denied the request: not this one`},
		"worse":  {http.StatusTeapot, `admission webhook "names.example.com" denied the request: Tea`},
		"silent": {http.StatusBadRequest, `admission webhook "names.example.com" denied the request without explanation`},
	} {
		_, err := makeConfigMap(t, client, "default", name, metav1.CreateOptions{})
		if s, ok := err.(apierrors.APIStatus); !ok || s.Status().Code != want.code || s.Status().Message != want.message {
			t.Errorf("%s: got %v, want %d %s", name, err, want.code, want.message)
		}
	}

	hook.forget()
	made, err := makeConfigMap(t, client, "default", "good", metav1.CreateOptions{FieldManager: "tester"})
	check(t, err)
	made.Data["more"] = "x"
	_, err = client.CoreV1().ConfigMaps("default").Update(t.Context(), made, metav1.UpdateOptions{})
	check(t, err)
	check(t, client.CoreV1().ConfigMaps("default").Delete(t.Context(), "good", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](3)}))
	var seen []string
	for _, q := range hook.questions() {
		var object, old corev1.ConfigMap
		var options metav1.TypeMeta
		for raw, into := range map[*[]byte]any{&q.Object.Raw: &object, &q.OldObject.Raw: &old, &q.Options.Raw: &options} {
			if len(*raw) > 0 {
				check(t, json.Unmarshal(*raw, into))
			}
		}
		seen = append(seen, fmt.Sprintf("%s %s %s %s %s/%s by %s, %s%v → %s%v, %s dry %v", q.Operation, q.Kind.Kind, q.Resource.Resource, q.RequestKind.Version,
			q.Namespace, q.Name, q.UserInfo.Username, old.Kind, len(old.Data), object.Kind, len(object.Data), options.Kind, *q.DryRun))
	}
	want := []string{
		"CREATE ConfigMap configmaps v1 default/good by admin, 0 → ConfigMap1, CreateOptions dry false",
		"UPDATE ConfigMap configmaps v1 default/good by admin, ConfigMap1 → ConfigMap2, UpdateOptions dry false",
		"DELETE ConfigMap configmaps v1 default/good by admin, ConfigMap2 → 0, DeleteOptions dry false",
	}
	if strings.Join(seen, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked:\n%s\nwant:\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
}

// TestWebhookIsAskedOnlyAboutItsOwn goes through rules, selectors and
// conditions.
func TestWebhookIsAskedOnlyAboutItsOwn(t *testing.T) {
	t.Parallel()
	server := start(t)
	client := adminClient(t, server)
	inNamespace(t, client, "shop")
	_, err := client.CoreV1().Namespaces().Patch(t.Context(), "shop", "application/merge-patch+json", []byte(`{"metadata":{"labels":{"guarded":"yes"}}}`), metav1.PatchOptions{})
	check(t, err)
	denies := answering(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return deny("no") })
	named := func(operator metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "name", Operator: operator, Values: values}}}
	}
	condition := func(text string) []registrationv1.MatchCondition {
		return []registrationv1.MatchCondition{{Name: "only", Expression: text}}
	}
	tests := map[string]struct {
		change func(*registrationv1.ValidatingWebhook)
		want   string // who is asked about shop/a, shop/b, default/a
	}{
		"rules":             {func(w *registrationv1.ValidatingWebhook) {}, "shop/a shop/b default/a"},
		"another version":   {func(w *registrationv1.ValidatingWebhook) { w.Rules[0].APIVersions = []string{"v2"} }, ""},
		"another group":     {func(w *registrationv1.ValidatingWebhook) { w.Rules[0].APIGroups = []string{"apps"} }, ""},
		"every resource":    {func(w *registrationv1.ValidatingWebhook) { w.Rules[0].Resources = []string{"*/*"} }, "shop/a shop/b default/a"},
		"only subresources": {func(w *registrationv1.ValidatingWebhook) { w.Rules[0].Resources = []string{"configmaps/status"} }, ""},
		"another operation": {func(w *registrationv1.ValidatingWebhook) {
			w.Rules[0].Operations = []registrationv1.OperationType{"UPDATE"}
		}, ""},
		"cluster scope":    {func(w *registrationv1.ValidatingWebhook) { w.Rules[0].Scope = ptr.To(registrationv1.ClusterScope) }, ""},
		"namespaced scope": {func(w *registrationv1.ValidatingWebhook) { w.Rules[0].Scope = ptr.To(registrationv1.NamespacedScope) }, "shop/a shop/b default/a"},
		"namespace": {func(w *registrationv1.ValidatingWebhook) {
			w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"guarded": "yes"}}
		}, "shop/a shop/b"},
		"object in":     {func(w *registrationv1.ValidatingWebhook) { w.ObjectSelector = named("In", "a", "c") }, "shop/a default/a"},
		"object not in": {func(w *registrationv1.ValidatingWebhook) { w.ObjectSelector = named("NotIn", "a") }, "shop/b"},
		"object exists": {func(w *registrationv1.ValidatingWebhook) { w.ObjectSelector = named("DoesNotExist") }, ""},
		"condition": {func(w *registrationv1.ValidatingWebhook) {
			w.MatchConditions = condition("object.metadata.name == 'b'")
		}, "shop/b"},
		"condition on user": {func(w *registrationv1.ValidatingWebhook) {
			w.MatchConditions = condition("request.userInfo.username != 'admin'")
		}, ""},
		"condition on rights": {func(w *registrationv1.ValidatingWebhook) {
			w.MatchConditions = condition("authorizer.group('').resource('secrets').namespace('shop').check('get').allowed()")
		}, "shop/a shop/b default/a"},
		"failing condition, ignored": {func(w *registrationv1.ValidatingWebhook) {
			w.MatchConditions, w.FailurePolicy = condition("object.nothing == 1"), ptr.To(registrationv1.Ignore)
		}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			id := strings.NewReplacer(" ", "-", ",", "").Replace(name)
			denies.validating(t, client, id, tt.change)
			var refused []string
			for _, ref := range [][2]string{{"shop", "a"}, {"shop", "b"}, {"default", "a"}} {
				_, err := makeConfigMap(t, client, ref[0], ref[1], metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if err != nil {
					refused = append(refused, ref[0]+"/"+ref[1])
				}
			}
			if got := strings.Join(refused, " "); got != tt.want {
				t.Errorf("asked about %q, want %q", got, tt.want)
			}
			check(t, client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), id, metav1.DeleteOptions{}))
		})
	}
	denies.validating(t, client, "broken", func(w *registrationv1.ValidatingWebhook) { w.MatchConditions = condition("object.nothing == 1") })
	_, err = makeConfigMap(t, client, "shop", "a", metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "no such key: nothing") {
		t.Errorf("a condition that fails: %v", err)
	}
}

// TestWebhookFailures has webhooks hang, redirect, flood and talk nonsense.
func TestWebhookFailures(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	reached := answering(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return nil })
	flood := bytes.Repeat([]byte("x"), 1<<20)
	answer := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(text)) }
	}
	review := func(response string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var q admissionv1.AdmissionReview
			check(t, json.NewDecoder(r.Body).Decode(&q))
			fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":`+response+`}`, q.Request.UID)
		}
	}
	tests := map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"hangs": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // or nobody notices that the client is gone
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}, "context deadline exceeded"},
		"redirects to loopback": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, reached.URL, http.StatusTemporaryRedirect)
		},
			"the answer is a redirect (307 Temporary Redirect), which is not followed"},
		"floods": {func(w http.ResponseWriter, r *http.Request) {
			for range 100 {
				if _, err := w.Write(flood); err != nil {
					return
				}
			}
		}, "the answer has more than 8388608 bytes"},
		"nonsense":     {answer("hello"), "received invalid webhook response: decode the answer: "},
		"no response":  {answer(`{}`), "received invalid webhook response: webhook response was absent"},
		"another uid":  {review(`{"uid":"x%.0s","allowed":true}`), `received invalid webhook response: expected response.uid="`},
		"a patch":      {review(`{"uid":"%s","allowed":true,"patch":"W10="}`), "received invalid webhook response: validating webhook may not return response.patch"},
		"another kind": {answer(`{"response":{}}`), "received invalid webhook response: expected response.uid="},
		"an error":     {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusInternalServerError) }, `failed to call webhook: an error on the server ("broken") has prevented the request from succeeding`},
		"not found":    {http.NotFound, "failed to call webhook: the server could not find the requested resource"},
		"hangs up":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			hook, id := serving(t, tt.handler), strings.ReplaceAll(name, " ", "-")
			only := func(policy registrationv1.FailurePolicyType) func(*registrationv1.ValidatingWebhook) {
				return func(w *registrationv1.ValidatingWebhook) {
					w.TimeoutSeconds, w.FailurePolicy = ptr.To[int32](1), &policy
					w.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"name": id + "-" + strings.ToLower(string(policy))}}
				}
			}
			hook.validating(t, client, id, only(registrationv1.Fail))
			hook.validating(t, client, id+"-open", only(registrationv1.Ignore))
			_, err := makeConfigMap(t, client, "default", id+"-fail", metav1.CreateOptions{})
			if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), tt.want) ||
				!strings.HasPrefix(err.Error(), `Internal error occurred: failed calling webhook "`+id+`.example.com": `) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if _, err = makeConfigMap(t, client, "default", id+"-ignore", metav1.CreateOptions{}); err != nil {
				t.Errorf("a failure that is to be ignored: %v", err)
			}
		})
	}
	if n := len(reached.questions()); n > 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

// TestHangingWebhookHoldsNobodyUp lets many writes wait for a webhook while
// others go on, in the same namespace too.
func TestHangingWebhookHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	release, waiting := make(chan struct{}), make(chan struct{}, 64)
	slow := serving(t, func(w http.ResponseWriter, r *http.Request) {
		waiting <- struct{}{}
		<-release
		http.Error(w, "late", http.StatusServiceUnavailable)
	})
	slow.validating(t, client, "slow", func(w *registrationv1.ValidatingWebhook) {
		w.TimeoutSeconds, w.FailurePolicy = ptr.To[int32](30), ptr.To(registrationv1.Ignore)
		w.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"name": "slow"}}
	})
	done := make(chan error, 32)
	for i := range cap(done) {
		go func() {
			_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("slow-%d", i), Labels: map[string]string{"name": "slow"}}}, metav1.CreateOptions{})
			done <- err
		}()
	}
	for range cap(done) {
		<-waiting
	}
	var slowest time.Duration
	for i := range 50 {
		began := time.Now()
		_, err := makeConfigMap(t, client, "default", fmt.Sprintf("quick-%d", i), metav1.CreateOptions{})
		check(t, err)
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("with %d writes waiting, the slowest of 50 others took %s", cap(done), slowest)
	if slowest > 2*time.Second {
		t.Errorf("others waited for %s", slowest)
	}
	close(release)
	for range cap(done) {
		check(t, <-done)
	}
}

// TestWebhooksAndDryRun asks those without side effects only.
func TestWebhooksAndDryRun(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	hook := answering(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return nil })
	hook.validating(t, client, "quiet", func(w *registrationv1.ValidatingWebhook) {
		w.SideEffects = ptr.To(registrationv1.SideEffectClassNoneOnDryRun)
	})
	_, err := makeConfigMap(t, client, "default", "a", metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	check(t, err)
	if q := hook.questions(); len(q) != 1 || !*q[0].DryRun {
		t.Errorf("asked %d times", len(q))
	}
}

// TestAdmissionIsNotAskedAboutItself keeps a webhook that refuses everything
// from keeping itself.
func TestAdmissionIsNotAskedAboutItself(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	hook := answering(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return deny("never") })
	hook.validating(t, client, "wall", func(w *registrationv1.ValidatingWebhook) {
		w.Rules = []registrationv1.RuleWithOperations{{Operations: []registrationv1.OperationType{"*"}, Rule: registrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}}}}
	})
	if _, err := makeConfigMap(t, client, "default", "a", metav1.CreateOptions{}); err == nil {
		t.Error("the webhook was not asked")
	}
	hook.mutating(t, client, "other")
	check(t, client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), "wall", metav1.DeleteOptions{}))
}

// TestWebhookThatCannotBeAsked lists only versions of AdmissionReview in which
// nobody asks.
func TestWebhookThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	hooks := adminClient(t, start(t)).AdmissionregistrationV1().ValidatingWebhookConfigurations()
	made := func(name string, versions ...string) error {
		_, err := hooks.Create(t.Context(), &registrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []registrationv1.ValidatingWebhook{{
			Name: "old.example.com", ClientConfig: registrationv1.WebhookClientConfig{URL: ptr.To("https://hook.example.com")}, Rules: forConfigMaps("CREATE"),
			SideEffects: ptr.To(registrationv1.SideEffectClassNone), AdmissionReviewVersions: versions}}}, metav1.CreateOptions{})
		return err
	}
	if err := made("old", "v1beta1"); !apierrors.IsInvalid(err) ||
		!strings.Contains(err.Error(), `webhooks[0].admissionReviewVersions: Invalid value: ["v1beta1"]: must include at least one of v1`) {
		t.Errorf("v1beta1 alone: %v", err)
	}
	check(t, made("both", "v1", "v1beta1"))
}
