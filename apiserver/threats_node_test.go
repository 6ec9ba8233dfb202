package apiserver_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestStolenNodeCertificate: what a node's certificate is good for ends at the
// node's own pods and what they refer to.
func TestStolenNodeCertificate(t *testing.T) {
	t.Parallel()
	server := start(t)
	owner := server.Peer(admin).Client()
	uids := map[string]string{}
	for node, name := range map[string]string{"n1": "mine", "n2": "theirs"} {
		check(t, owner.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}))
		check(t, owner.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: inDefault(name)}))
		check(t, owner.Create(t.Context(), &corev1.Secret{ObjectMeta: inDefault(name)}))
		check(t, owner.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: inDefault(name)}))
		pod := podOn(node, name)
		check(t, owner.Create(t.Context(), pod))
		check(t, owner.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
		uids[name] = string(pod.UID)
	}
	thief := personPeer(t, server, "system:node:n1", "system:nodes")
	const space = "/api/v1/namespaces/default"
	token := func(ref string) string {
		return `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":[],"boundObjectRef":` + ref + `}}`
	}
	pod := func(name, uid string) string {
		return token(`{"apiVersion":"v1","kind":"Pod","name":"` + name + `","uid":"` + uid + `"}`)
	}
	merge := []string{"Content-Type", "application/merge-patch+json"}
	const newPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"new"},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"i"}]}}`
	mirror := func(spec string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"mirror","annotations":{"kubernetes.io/config.mirror":"x"},"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n1","uid":"x"}]},` +
			`"spec":{"nodeName":"n1","containers":[{"name":"c","image":"i"` + spec + `}}`
	}
	for name, c := range map[string]attempt{
		"a mirror of its own file":        {"POST", space + "/pods", mirror(`}]`), nil, 201},
		"a mirror with another's Secret":  {"POST", space + "/pods", mirror(`,"envFrom":[{"secretRef":{"name":"theirs"}}]}]`), nil, 403},
		"a mirror with a pull secret":     {"POST", space + "/pods", mirror(`}],"imagePullSecrets":[{"name":"theirs"}]`), nil, 403},
		"a mirror with an account":        {"POST", space + "/pods", mirror(`}],"serviceAccountName":"theirs"`), nil, 403},
		"its pod's Secret":                {"GET", space + "/secrets/mine", "", nil, 200},
		"its pod's token":                 {"POST", space + "/serviceaccounts/mine/token", pod("mine", uids["mine"]), nil, 201},
		"its own Node":                    {"PATCH", "/api/v1/nodes/n1", `{"metadata":{"labels":{"kubernetes.io/arch":"arm64"}}}`, merge, 200},
		"its own pods":                    {"GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", "", nil, 200},
		"another node's Secret":           {"GET", space + "/secrets/theirs", "", nil, 403},
		"another node's ConfigMap":        {"GET", space + "/configmaps/theirs", "", nil, 403},
		"all Secrets":                     {"GET", space + "/secrets", "", nil, 403},
		"a watch of all Secrets":          {"GET", "/api/v1/secrets?watch=1", "", nil, 403},
		"the write of its pod's Secret":   {"PATCH", space + "/secrets/mine", `{"data":{}}`, merge, 403},
		"another node's pods":             {"GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", "", nil, 403},
		"another node's pod":              {"GET", space + "/pods/theirs", "", nil, 403},
		"all pods":                        {"GET", "/api/v1/pods", "", nil, 403},
		"another pod's end":               {"DELETE", space + "/pods/theirs", "", nil, 403},
		"another pod's status":            {"PATCH", space + "/pods/theirs/status", `{"status":{"phase":"Failed"}}`, merge, 403},
		"another pod's eviction":          {"POST", space + "/pods/theirs/eviction", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"theirs"}}`, nil, 403},
		"its pod's labels":                {"PATCH", space + "/pods/mine/status", `{"metadata":{"labels":{"app":"database"}}}`, merge, 403},
		"its pod's spec":                  {"PATCH", space + "/pods/mine", `{"spec":{"activeDeadlineSeconds":5}}`, merge, 403},
		"a new pod":                       {"POST", space + "/pods", newPod, nil, 403},
		"a shell in another pod":          {"GET", space + "/pods/theirs/exec?command=sh", "", nil, 403},
		"the other agent":                 {"GET", "/api/v1/nodes/n2/proxy/pods", "", nil, 403},
		"another account's token":         {"POST", space + "/serviceaccounts/theirs/token", pod("theirs", uids["theirs"]), nil, 403},
		"another account's, for its pod":  {"POST", space + "/serviceaccounts/theirs/token", pod("mine", uids["mine"]), nil, 403},
		"its account's, for another pod":  {"POST", space + "/serviceaccounts/mine/token", pod("theirs", uids["theirs"]), nil, 403},
		"a token that no pod ends":        {"POST", space + "/serviceaccounts/mine/token", token("null"), nil, 403},
		"a token that a Secret ends":      {"POST", space + "/serviceaccounts/mine/token", token(`{"apiVersion":"v1","kind":"Secret","name":"mine"}`), nil, 403},
		"a token for a pod of any UID":    {"POST", space + "/serviceaccounts/mine/token", pod("mine", ""), nil, 403},
		"a token for a pod of another":    {"POST", space + "/serviceaccounts/mine/token", pod("mine", uids["theirs"]), nil, 403},
		"a protected label":               {"PATCH", "/api/v1/nodes/n1", `{"metadata":{"labels":{"node-restriction.kubernetes.io/pci":"yes"}}}`, merge, 403},
		"a protected label's other form":  {"PATCH", "/api/v1/nodes/n1", `{"metadata":{"labels":{"eu.node-restriction.kubernetes.io/pci":"yes"}}}`, merge, 403},
		"the control plane's label":       {"PATCH", "/api/v1/nodes/n1", `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`, merge, 403},
		"the same through its status":     {"PATCH", "/api/v1/nodes/n1/status", `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`, merge, 403},
		"a taint less":                    {"PATCH", "/api/v1/nodes/n1", `{"spec":{"taints":[]}}`, merge, 403},
		"an owner of its Node":            {"PATCH", "/api/v1/nodes/n1", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"mine","uid":"x"}]}}`, merge, 403},
		"another Node":                    {"PATCH", "/api/v1/nodes/n2", `{"metadata":{"labels":{"a":"b"}}}`, merge, 403},
		"another Node's status":           {"PATCH", "/api/v1/nodes/n2/status", `{"status":{"phase":"x"}}`, merge, 403},
		"another Node's end":              {"DELETE", "/api/v1/nodes/n2", "", nil, 403},
		"its own Node's end":              {"DELETE", "/api/v1/nodes/n1", "", nil, 403},
		"another node's Lease":            {"POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"n2"}}`, nil, 403},
		"a lock of the control plane":     {"GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", "", nil, 403},
		"roles":                           {"GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "", nil, 403},
		"another node by impersonation":   {"GET", space + "/secrets/theirs", "", []string{"Impersonate-User", "system:node:n2", "Impersonate-Group", "system:nodes"}, 403},
		"another node by a proxy's words": {"GET", space + "/secrets/theirs", "", []string{"X-Remote-User", "system:node:n2", "X-Remote-Group", "system:nodes"}, 403},
		"the cluster's transactions":      {"POST", "/apis/txn.headway.sh/v1/view", `{}`, nil, 403},
	} {
		if code, text := thief.ask(t, c.method, c.path, c.body, c.headers...); code != c.want {
			t.Errorf("%s: %d %s, want %d", name, code, text, c.want)
		}
	}
}

// TestNodeIsNoServer: clients do not take a node's certificates, client or
// serving, for the API server's.
func TestNodeIsNoServer(t *testing.T) {
	t.Parallel()
	server := start(t)
	a := server.Authorities()
	address, err := a.NodeCertificate("n1", server.Address().Addr())
	check(t, err)
	serving, err := address.Server(&tls.ClientHelloInfo{})
	check(t, err)
	for name, certificate := range map[string]tls.Certificate{
		"client":  pair(t)(a.UserCertificate("system:node:n1", []string{"system:nodes"}, 0)),
		"serving": *serving,
	} {
		reached := false
		fake := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
		fake.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		fake.StartTLS()
		at, err := url.Parse(fake.URL)
		check(t, err)
		person := personPeer(t, server, "jane")
		request, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+at.Host+"/api", nil)
		check(t, err)
		request.Header.Set("Authorization", "Bearer hush")
		response, err := person.http.Do(request)
		if err == nil {
			response.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s certificate: %v, want it refused", name, err)
		}
		fake.Close()
		if reached {
			t.Errorf("%s certificate: it was told the token", name)
		}
	}
}
