package apiserver_test

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const authorizationPath = "/apis/authorization.k8s.io/v1/"

// TestAccessReviewsTakeSelectors: what a review narrows by selectors is asked
// so narrowed. RBAC does not look at them; a node may list its own pods only.
func TestAccessReviewsTakeSelectors(t *testing.T) {
	t.Parallel()
	server := start(t)
	bindRole(t, server, "jane", "view")
	root := personPeer(t, server, "root", "system:masters")
	const node = `"user":"system:node:n1","groups":["system:nodes"]`
	pods := func(who, more string) string {
		return `{"spec":{` + who + `,"resourceAttributes":{"verb":"list","version":"v1","resource":"pods"` + more + `}}}`
	}
	for _, c := range []struct{ name, body, want string }{
		{"RBAC without", pods(`"user":"jane"`, ""), `"allowed":true`},
		{"RBAC with a field", pods(`"user":"jane"`, `,"fieldSelector":{"rawSelector":"spec.nodeName=n1"}`), `"allowed":true`},
		{"RBAC with labels", pods(`"user":"jane"`, `,"labelSelector":{"requirements":[{"key":"app","operator":"In","values":["a","b"]}]}`), `"allowed":true`},
		{"a stranger", pods(`"user":"john"`, `,"labelSelector":{"rawSelector":"app=a"}`), `"allowed":false`},
		{"a node without", pods(node, ""), `"allowed":false`},
		{"a node with its name", pods(node, `,"fieldSelector":{"rawSelector":"spec.nodeName=n1"}`), `"allowed":true`},
		{"a node with its name among others", pods(node, `,"fieldSelector":{"rawSelector":"status.phase!=Failed,spec.nodeName==n1"}`), `"allowed":true`},
		{"a node with its name as requirement", pods(node, `,"fieldSelector":{"requirements":[{"key":"spec.nodeName","operator":"In","values":["n1"]}]}`), `"allowed":true`},
		{"a node with another's", pods(node, `,"fieldSelector":{"rawSelector":"spec.nodeName=n2"}`), `"allowed":false`},
		{"a node with all but its own", pods(node, `,"fieldSelector":{"requirements":[{"key":"spec.nodeName","operator":"NotIn","values":["n1"]}]}`), `"allowed":false`},
		{"a node with a name that hides a term", pods(node, `,"fieldSelector":{"requirements":[{"key":"spec.nodeName","operator":"In","values":["n2,spec.nodeName=n1"]}]}`), `"allowed":false`},
		{"a node with its name and an unknown operator", pods(node, `,"fieldSelector":{"requirements":[{"key":"spec.nodeName","operator":"In","values":["n1"]},{"key":"x","operator":"Near","values":["y"]}]}`),
			`"allowed":true,"reason":"node n1","evaluationError":"spec.resourceAttributes.fieldSelector partly or wholly ignored: operator \"Near\" is not supported"`},
		{"a text that is none", pods(node, `,"fieldSelector":{"rawSelector":"spec.nodeName"}`), `"allowed":false,"reason":"node n1","evaluationError":"spec.resourceAttributes.fieldSelector`},
		{"labels that are none", pods(`"user":"jane"`, `,"labelSelector":{"rawSelector":"a in ("}`), `"evaluationError":"spec.resourceAttributes.labelSelector`},
	} {
		if code, text := root.ask(t, "POST", authorizationPath+"subjectaccessreviews", c.body); code != http.StatusCreated || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %s, want %s", c.name, code, text, c.want)
		}
	}
}

// TestWrongAccessReviews: what is no question is a 422 that names the field.
func TestWrongAccessReviews(t *testing.T) {
	t.Parallel()
	server := start(t)
	root := personPeer(t, server, "root", "system:masters")
	const (
		any   = "subjectaccessreviews"
		self  = "selfsubjectaccessreviews"
		local = "namespaces/default/localsubjectaccessreviews"
	)
	for _, c := range []struct {
		name, path, body string
		code             int
		want             string
	}{
		{"nothing", any, `{}`, 422, `"spec.resourceAttributes"`},
		{"nobody", any, `{"spec":{"resourceAttributes":{"verb":"get"}}}`, 422, `"spec.user"`},
		{"both", any, `{"spec":{"user":"a","resourceAttributes":{},"nonResourceAttributes":{}}}`, 422, `"spec.nonResourceAttributes"`},
		{"a name", any, `{"metadata":{"name":"x"},"spec":{"user":"a","resourceAttributes":{}}}`, 422, `"metadata"`},
		{"oneself about nothing", self, `{"spec":{}}`, 422, `SelfSubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.resourceAttributes`},
		{"an empty selector", self, `{"spec":{"resourceAttributes":{"fieldSelector":{}}}}`, 422, `"spec.resourceAttributes.fieldSelector.requirements"`},
		{"two forms", self, `{"spec":{"resourceAttributes":{"labelSelector":{"rawSelector":"a=b","requirements":[{"key":"a","operator":"Exists"}]}}}}`, 422, `"spec.resourceAttributes.labelSelector.rawSelector"`},
		{"no values", self, `{"spec":{"resourceAttributes":{"fieldSelector":{"requirements":[{"key":"a","operator":"In"}]}}}}`, 422, `"spec.resourceAttributes.fieldSelector.requirements[0].values"`},
		{"a key that is none", self, `{"spec":{"resourceAttributes":{"labelSelector":{"requirements":[{"key":"a b","operator":"Exists"}]}}}}`, 422, `"spec.resourceAttributes.labelSelector.requirements[0].key"`},
		{"locally without a namespace", local, `{"spec":{"user":"a","resourceAttributes":{"verb":"get"}}}`, 422, `"spec.resourceAttributes.namespace"`},
		{"locally about elsewhere", local, `{"spec":{"user":"a","resourceAttributes":{"namespace":"kube-system"}}}`, 422, `"spec.resourceAttributes.namespace"`},
		{"locally about a path", local, `{"spec":{"user":"a","nonResourceAttributes":{"path":"/"}}}`, 422, `"spec.nonResourceAttributes"`},
		{"locally in another namespace", local, `{"metadata":{"namespace":"kube-system"},"spec":{"user":"a","resourceAttributes":{"namespace":"default"}}}`, 400, `namespace`},
		{"locally as it should be", local, `{"metadata":{"namespace":"default"},"spec":{"user":"a","resourceAttributes":{"namespace":"default"}}}`, 201, `"allowed":false`},
	} {
		if code, text := root.ask(t, "POST", authorizationPath+c.path, c.body); code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %s, want %d %s", c.name, code, text, c.code, c.want)
		}
	}
}

// TestRulesOfANodeAreIncomplete: what the graph of its pods gives a node is in
// no list of rules, and the review says so.
func TestRulesOfANodeAreIncomplete(t *testing.T) {
	t.Parallel()
	server := start(t)
	check(t, server.Peer(admin).Client().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}))
	const body = `{"spec":{"namespace":"default"}}`
	if code, text := personPeer(t, server, "system:node:n1", "system:nodes").ask(t, "POST", authorizationPath+"selfsubjectrulesreviews", body); code != 201 ||
		!strings.Contains(text, `"incomplete":true,"evaluationError":"node authorizer does not support user rule resolution"`) || !strings.Contains(text, `"nodes/status"`) {
		t.Errorf("a node: %d %s", code, text)
	}
	if code, text := personPeer(t, server, "jane").ask(t, "POST", authorizationPath+"selfsubjectrulesreviews", body); code != 201 || !strings.Contains(text, `"incomplete":false`) {
		t.Errorf("a person: %d %s", code, text)
	}
}
