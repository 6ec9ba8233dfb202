package apiserver_test

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestWebhooksAndCustomResources: a patch of a custom resource is pruned,
// defaulted and validated, a webhook for another version is shown that one, a
// policy sees it with its defaults, and definitions can be refused.
func TestWebhooksAndCustomResources(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	client := adminClient(t, s.server)
	hook := answering(t, func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		switch {
		case q.Kind.Kind == "CustomResourceDefinition":
			return deny("no more kinds")
		case q.Name == "bad":
			return patch(`[{"op":"add","path":"/spec/color","value":"green"}]`)
		}
		return patch(`[{"op":"add","path":"/spec/color","value":"blue"},{"op":"add","path":"/spec/fromTheFuture","value":"x"},{"op":"remove","path":"/spec/limit"}]`)
	})
	rule := func(group, version, resource string) registrationv1.RuleWithOperations {
		return registrationv1.RuleWithOperations{Operations: []registrationv1.OperationType{"CREATE"},
			Rule: registrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}}}
	}
	hook.mutating(t, client, "widgets", func(w *registrationv1.MutatingWebhook) {
		w.Rules = []registrationv1.RuleWithOperations{rule("shop.example.com", "v2", "widgets")}
	})
	hook.validating(t, client, "kinds", func(w *registrationv1.ValidatingWebhook) {
		w.Rules = []registrationv1.RuleWithOperations{rule("apiextensions.k8s.io", "*", "customresourcedefinitions")}
	})
	made, err := s.widgets().Create(t.Context(), widget(t, "a", "{size: 3}"), metav1.CreateOptions{})
	check(t, err)
	if at(t, made, "spec.color") != "blue" || at(t, made, "spec.limit") != int64(10) || at(t, made, "spec.fromTheFuture") != nil || made.GetAPIVersion() != "shop.example.com/v1" {
		t.Errorf("stored %v", made.Object)
	}
	if q := hook.questions()[0]; q.Kind.Version != "v2" || q.RequestKind.Version != "v1" || !strings.Contains(string(q.Object.Raw), `"shop.example.com/v2"`) {
		t.Errorf("asked about %v, sent as %v: %s", q.Kind, q.RequestKind, q.Object.Raw)
	}
	_, err = s.widgets().Create(t.Context(), widget(t, "bad", "{size: 3}"), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), `spec.color: Unsupported value: "green"`) {
		t.Errorf("a patch that makes it invalid: %v", err)
	}
	_, err = s.crds.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), definition(t, strings.NewReplacer("widgets", "gadgets", "Widget", "Gadget", "wd", "gd").Replace(widgets)), metav1.CreateOptions{})
	if want := `admission webhook "kinds.example.com" denied the request: no more kinds`; err == nil || err.Error() != want {
		t.Errorf("a definition: %v", err)
	}

	policyOf(t, client, "limits", "matchConstraints: {resourceRules: [{apiGroups: [shop.example.com], apiVersions: [v1], operations: [CREATE], resources: [widgets]}]}\n"+
		"paramKind: {apiVersion: shop.example.com/v1, kind: Widget}\nvalidations: [{expression: object.spec.size < params.spec.size && object.spec.limit == 10, messageExpression: \"'less than ' + string(params.spec.size)\"}]")
	bindingOf(t, client, "limits", "limits", "paramRef: {name: a, parameterNotFoundAction: Deny}")
	if _, err := s.widgets().Create(t.Context(), widget(t, "small", "{size: 2}"), metav1.CreateOptions{}); err != nil {
		t.Errorf("within the policy: %v", err)
	}
	_, err = s.widgets().Create(t.Context(), widget(t, "large", "{size: 4}"), metav1.CreateOptions{})
	if want := `widgets.shop.example.com "large" is forbidden: ValidatingAdmissionPolicy 'limits' with binding 'limits' denied request: less than 3`; err == nil || err.Error() != want {
		t.Errorf("against the policy: %v", err)
	}
}
