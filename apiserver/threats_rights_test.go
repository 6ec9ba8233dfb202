package apiserver_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// attempt is one request of somebody who must not make it.
type attempt struct {
	method, path, body string
	headers            []string
	want               int
}

// TestNobodyGivesHimselfMore: roles and bindings beyond what their writer
// holds, by every verb that writes them.
func TestNobodyGivesHimselfMore(t *testing.T) {
	t.Parallel()
	server := start(t)
	const group = "/apis/rbac.authorization.k8s.io/v1"
	grant(t, server, "keeper", may("*", rbacv1.GroupName, "roles rolebindings clusterroles clusterrolebindings"), may("get list", "", "configmaps"))
	// "*" on roles has escalate and bind in it; the writer has all but them.
	writes := "get list watch create update patch delete deletecollection"
	grant(t, server, "writer", may(writes, rbacv1.GroupName, "roles rolebindings clusterroles clusterrolebindings"), may("get list", "", "configmaps"))
	grant(t, server, "binder", may(writes, rbacv1.GroupName, "rolebindings clusterrolebindings"), may("bind", rbacv1.GroupName, "clusterroles", "view"))
	role := func(kind, name, rules string) string {
		return `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"` + kind + `","metadata":{"name":"` + name + `"},"rules":[` + rules + `]}`
	}
	binding := func(kind, name, roleKind, role string) string {
		return `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"` + kind + `","metadata":{"name":"` + name + `"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"` + roleKind + `","name":"` + role +
			`"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"writer"}]}`
	}
	const held, secret, all = `{"apiGroups":[""],"resources":["configmaps"],"verbs":["get"]}`, `{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}`,
		`{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}`
	const aggregated = `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"sum"},"aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"a":"b"}}]},"rules":[]}`
	merge, apply := []string{"Content-Type", "application/merge-patch+json"}, []string{"Content-Type", "application/apply-patch+yaml"}
	const roles, bindings = group + "/namespaces/default/roles", group + "/namespaces/default/rolebindings"
	for _, c := range []struct {
		person string
		attempt
	}{
		{"writer", attempt{"POST", group + "/clusterroles", role("ClusterRole", "mine", held), nil, 201}},
		{"writer", attempt{"POST", roles, role("Role", "mine", held), nil, 201}},
		{"writer", attempt{"POST", group + "/clusterrolebindings", binding("ClusterRoleBinding", "mine", "ClusterRole", "mine"), nil, 201}},
		{"writer", attempt{"POST", group + "/clusterroles", role("ClusterRole", "more", secret), nil, 403}},
		{"writer", attempt{"POST", group + "/clusterroles", role("ClusterRole", "more", all), nil, 403}},
		{"writer", attempt{"POST", group + "/clusterroles", role("ClusterRole", "more", `{"nonResourceURLs":["/metrics"],"verbs":["get"]}`), nil, 403}},
		{"writer", attempt{"POST", group + "/clusterroles", aggregated, nil, 403}},
		{"writer", attempt{"POST", group + "/clusterroles?dryRun=All", role("ClusterRole", "more", secret), nil, 403}},
		{"writer", attempt{"POST", roles, role("Role", "more", secret), nil, 403}},
		{"writer", attempt{"PUT", group + "/clusterroles/mine", role("ClusterRole", "mine", secret), nil, 403}},
		{"writer", attempt{"PATCH", group + "/clusterroles/mine", `{"rules":[` + secret + `]}`, merge, 403}},
		{"writer", attempt{"PATCH", group + "/clusterroles/applied?fieldManager=x", role("ClusterRole", "applied", secret), apply, 403}},
		{"writer", attempt{"PATCH", group + "/clusterroles/mine", `{"aggregationRule":{"clusterRoleSelectors":[{}]}}`, merge, 403}},
		{"writer", attempt{"PATCH", group + "/clusterroles/mine", `{"metadata":{"labels":{"a":"b"}}}`, merge, 200}},
		{"writer", attempt{"POST", group + "/clusterrolebindings", binding("ClusterRoleBinding", "root", "ClusterRole", "cluster-admin"), nil, 403}},
		{"writer", attempt{"POST", bindings, binding("RoleBinding", "root", "ClusterRole", "cluster-admin"), nil, 403}},
		{"writer", attempt{"POST", bindings, binding("RoleBinding", "view", "ClusterRole", "view"), nil, 403}},
		{"writer", attempt{"PATCH", group + "/clusterrolebindings/cluster-admin", `{"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"writer"}]}`, merge, 403}},
		{"writer", attempt{"PATCH", group + "/clusterrolebindings/applied?fieldManager=x", binding("ClusterRoleBinding", "applied", "ClusterRole", "cluster-admin"), apply, 403}},
		{"binder", attempt{"POST", bindings, binding("RoleBinding", "allowed", "ClusterRole", "view"), nil, 201}},
		{"binder", attempt{"POST", bindings, binding("RoleBinding", "other", "ClusterRole", "edit"), nil, 403}},
		{"keeper", attempt{"POST", group + "/clusterroles", role("ClusterRole", "kept", secret), nil, 201}},
		{"keeper", attempt{"POST", group + "/clusterrolebindings", binding("ClusterRoleBinding", "kept", "ClusterRole", "edit"), nil, 201}},
	} {
		if code, text := personPeer(t, server, c.person).ask(t, c.method, c.path, c.body, c.headers...); code != c.want {
			t.Errorf("%s: %s %s %s: %d %s, want %d", c.person, c.method, c.path, c.body, code, text, c.want)
		} else if code == http.StatusForbidden && !strings.Contains(text, "attempting to grant RBAC permissions not currently held") {
			t.Errorf("%s: %s %s: refused for another reason: %s", c.person, c.method, c.path, text)
		}
	}
}

// TestNobodyBecomesSomebodyElse: each part of another identity needs its own
// permission.
func TestNobodyBecomesSomebodyElse(t *testing.T) {
	t.Parallel()
	server := start(t)
	grant(t, server, "deputy", may("impersonate", "", "users", "bob"), may("impersonate", "", "groups", "dev"),
		may("impersonate", "", "serviceaccounts", "robot"),
		may("impersonate", "authentication.k8s.io", "uids", "u-1"), may("impersonate", "authentication.k8s.io", "userextras/scopes", "read", "write/all"),
		may("impersonate", "", "users", "system:anonymous"), may("impersonate", "", "groups", "system:unauthenticated"),
		may("impersonate", "authentication.k8s.io", "userextras/acme.com/Role%zz", "read"))
	bindRole(t, server, "bob", "system:basic-user")
	bindRole(t, server, "system:anonymous", "system:basic-user")
	deputy, jane := personPeer(t, server, "deputy"), personPeer(t, server, "jane")
	const robot = "system:serviceaccount:default:robot"
	for _, c := range []struct {
		name    string
		by      peer
		headers []string
		want    int
		text    string
	}{
		{"a user", deputy, []string{"Impersonate-User", "bob"}, 201, `"userInfo":{"username":"bob","groups":["system:authenticated"]}`},
		{"a user and his groups", deputy, []string{"Impersonate-User", "bob", "Impersonate-Group", "dev"}, 201, `"groups":["dev","system:authenticated"]`},
		{"a user with a UID", deputy, []string{"Impersonate-User", "bob", "Impersonate-Uid", "u-1"}, 201, `"uid":"u-1"`},
		{"a user with extra", deputy, []string{"Impersonate-User", "bob", "Impersonate-Extra-Scopes", "read", "Impersonate-Extra-scopes", "write/all"}, 201, `"extra":{"scopes":["read","write/all"]}`},
		{"an account", deputy, []string{"Impersonate-User", robot}, 201, `"groups":["system:serviceaccounts","system:serviceaccounts:default","system:authenticated"]`},
		{"another user", deputy, []string{"Impersonate-User", "root"}, 403, `cannot impersonate resource \"users\" in API group \"\" at the cluster scope`},
		{"a node", deputy, []string{"Impersonate-User", "system:node:n1", "Impersonate-Group", "system:nodes"}, 403, `\"users\"`},
		{"nobody", deputy, []string{"Impersonate-User", "system:anonymous"}, 201, `"groups":["system:unauthenticated"]`},
		{"a user who is not authenticated", deputy, []string{"Impersonate-User", "bob", "Impersonate-Group", "system:unauthenticated"}, 201, `"groups":["system:unauthenticated"]`},
		{"a key that was escaped", deputy, []string{"Impersonate-User", "bob", "Impersonate-Extra-ACME.com%2f%52ole%25zz", "read"}, 201, `"extra":{"acme.com/Role%zz":["read"]}`},
		{"a key whose escape is none", deputy, []string{"Impersonate-User", "bob", "Impersonate-Extra-Acme%zz", "read"}, 403, `\"userextras/acme%zz\"`},
		{"another group", deputy, []string{"Impersonate-User", "bob", "Impersonate-Group", "dev", "Impersonate-Group", "system:masters"}, 403, `cannot impersonate resource \"groups\"`},
		{"another UID", deputy, []string{"Impersonate-User", "bob", "Impersonate-Uid", "u-2"}, 403, `cannot impersonate resource \"uids\" in API group \"authentication.k8s.io\"`},
		{"another value", deputy, []string{"Impersonate-User", "bob", "Impersonate-Extra-Scopes", "admin"}, 403, `cannot impersonate resource \"userextras/scopes\" in API group \"authentication.k8s.io\"`},
		{"one value of two", deputy, []string{"Impersonate-User", "bob", "Impersonate-Extra-Scopes", "read", "Impersonate-Extra-Scopes", "admin"}, 403, `\"userextras/scopes\"`},
		{"another key", deputy, []string{"Impersonate-User", "bob", "Impersonate-Extra-Acme.com%2fteam", "read"}, 403, `\"userextras/acme.com/team\"`},
		{"another account", deputy, []string{"Impersonate-User", "system:serviceaccount:default:default"}, 403, `cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"default\"`},
		{"a group alone", deputy, []string{"Impersonate-Group", "dev"}, 400, "user"},
		{"a UID alone", deputy, []string{"Impersonate-Uid", "u-1"}, 400, "user"},
		{"an extra alone", deputy, []string{"Impersonate-Extra-Scopes", "read"}, 400, "user"},
		{"without any right", jane, []string{"Impersonate-User", "bob"}, 403, `User \"jane\" cannot impersonate`},
		{"himself", jane, []string{"Impersonate-User", "jane"}, 403, `User \"jane\" cannot impersonate`},
	} {
		code, text := c.by.ask(t, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`, c.headers...)
		if code != c.want || !strings.Contains(text, c.text) {
			t.Errorf("%s: %d %s, want %d %s", c.name, code, text, c.want, c.text)
		}
	}
}

// TestSecretsStayHidden: each verb that shows a Secret is a right of its own.
func TestSecretsStayHidden(t *testing.T) {
	t.Parallel()
	server := start(t)
	owner := server.Peer(admin).Client()
	for _, name := range []string{"one", "two"} {
		check(t, owner.Create(t.Context(), &corev1.Secret{ObjectMeta: inDefault(name), StringData: map[string]string{"k": "hush"}}))
	}
	for _, verb := range []string{"get", "list", "watch", "delete", "deletecollection"} {
		grant(t, server, verb, may(verb, "", "secrets"))
	}
	grant(t, server, "one", may("get list watch delete deletecollection", "", "secrets", "one"))
	bindRole(t, server, "viewer", "view")
	const space, whole = "/api/v1/namespaces/default/secrets", "/api/v1/secrets"
	asks := map[string][]attempt{
		"get":  {{method: "GET", path: space + "/one"}},
		"list": {{method: "GET", path: space}, {method: "GET", path: whole}, {method: "GET", path: space + "?watch=false&limit=1"}},
		"watch": {{method: "GET", path: space + "?watch=1"}, {method: "GET", path: whole + "?watch=true"}, {method: "GET", path: "/api/v1/watch/secrets"},
			{method: "GET", path: "/api/v1/watch/namespaces/default/secrets"}, {method: "GET", path: "/api/v1/watch/namespaces/default/secrets/one"},
			{method: "GET", path: space + "?watch=&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"}},
		"deletecollection": {{method: "DELETE", path: space + "?dryRun=All"}, {method: "DELETE", path: space + "?labelSelector=x"}},
		"delete":           {{method: "DELETE", path: space + "/two?dryRun=All"}},
	}
	media := []string{"application/json", "application/json;as=Table;g=meta.k8s.io;v=v1", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "application/vnd.kubernetes.protobuf"}
	for verb, list := range asks {
		for _, a := range list {
			for _, person := range []string{"get", "list", "watch", "delete", "deletecollection", "viewer", "one", "stranger"} {
				want := http.StatusForbidden
				if person == verb || person == "one" && strings.Contains(a.path, "/one") {
					want = http.StatusOK
				}
				for _, accept := range media {
					if code := begins(t, personPeer(t, server, person), a, accept); code != want && (want == http.StatusForbidden || code != http.StatusNotAcceptable) {
						t.Errorf("who may %s: %s %s as %s: %d, want %d", person, a.method, a.path, accept, code, want)
					}
				}
			}
		}
	}
	for person, want := range map[string]int{"get": http.StatusMethodNotAllowed, "list": http.StatusForbidden, "stranger": http.StatusForbidden} {
		if code, _ := personPeer(t, server, person).ask(t, "HEAD", space+"/one", ""); code != want {
			t.Errorf("who may %s: HEAD: %d, want %d", person, code, want)
		}
	}
	one := personPeer(t, server, "one")
	for path, want := range map[string]int{
		space + "?fieldSelector=metadata.name%3Done":                                     200,
		space + "?fieldSelector=metadata.name%3Dtwo":                                     403,
		space + "?fieldSelector=metadata.name!%3Dtwo":                                    403,
		space + "?watch=1&fieldSelector=metadata.name%3Done":                             200,
		space + "?watch=1&fieldSelector=metadata.name%3Dtwo&fieldSelector=metadata.name": 403,
	} {
		if code := begins(t, one, attempt{method: "GET", path: path}, media[0]); code != want {
			t.Errorf("who may read one: %s: %d, want %d", path, code, want)
		}
	}
}

// begins gives the code that an answer begins with, which may never end.
func begins(t *testing.T, p peer, a attempt, accept string) int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, a.method, p.url+a.path, strings.NewReader(a.body))
	check(t, err)
	request.Header.Set("Accept", accept)
	response, err := p.http.Do(request)
	check(t, err)
	defer response.Body.Close()
	if response.StatusCode == http.StatusForbidden {
		text, _ := bufio.NewReader(response.Body).ReadString(0) // io.EOF: the whole of it
		if strings.Contains(text, "hush") || strings.Contains(text, "aHVzaA") {
			t.Errorf("%s %s: the refusal has the Secret in it: %s", a.method, a.path, text)
		}
	}
	return response.StatusCode
}
