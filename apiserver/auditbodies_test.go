package apiserver_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	clientrest "k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver"
)

const bodiesPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
omitStages: [RequestReceived]
rules:
- {level: Metadata, resources: [{group: "", resources: [secrets, serviceaccounts/token]}]}
- {level: RequestResponse, namespaces: [default]}
- {level: Metadata}
`

// auditLog is what the server has written down when it has stopped.
func auditLog(t *testing.T, dir string, stop func()) []auditv1.Event {
	t.Helper()
	stop()
	text, err := os.ReadFile(filepath.Join(dir, "audit", "audit.log"))
	check(t, err)
	if bytes.Contains(text, []byte("hunter-")) || bytes.Contains(text, []byte("eyJhbGciOi")) {
		t.Error("the log has a password or a token in it")
	}
	if bytes.Contains(text, []byte("managedFields")) {
		t.Error("the log has managed fields in it")
	}
	var events []auditv1.Event
	for line := range bytes.Lines(text) {
		var e auditv1.Event
		check(t, json.Unmarshal(line, &e))
		events = append(events, e)
	}
	return events
}

// story are an event's facts in short: verb, what, code, the objects' data.
func story(e *auditv1.Event) string {
	what := e.RequestURI
	if e.ObjectRef != nil {
		what = e.ObjectRef.Resource + "/" + e.ObjectRef.Name
		if e.ObjectRef.Subresource != "" {
			what += "/" + e.ObjectRef.Subresource
		}
	}
	parts := []string{e.Verb, what}
	if e.RequestObject != nil {
		parts = append(parts, "asked "+data(e.RequestObject.Raw))
	}
	if e.ResponseObject != nil {
		parts = append(parts, "answered "+data(e.ResponseObject.Raw))
	}
	return strings.Join(parts, " ")
}

func data(raw []byte) string {
	var o struct {
		Kind string            `json:"kind"`
		Data map[string]string `json:"data"`
	}
	if json.Unmarshal(raw, &o) != nil || o.Data["k"] == "" {
		return o.Kind
	}
	return strings.TrimPrefix(o.Kind+" k="+o.Data["k"], " ")
}

func mapOf(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"k": value}}
}

func TestObjectsAreAudited(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	check(t, os.WriteFile(policy, []byte(bodiesPolicy), 0o600))
	server, stop := startIn(t, dir, func(c *apiserver.Config) { c.Audit = apiserver.AuditConfig{Policy: policy} })
	root := asPerson(t, server, "root", "system:masters", "wheel")
	root.ContentType = "application/vnd.kubernetes.protobuf"
	root.Impersonate = clientrest.ImpersonationConfig{UserName: "john", Groups: []string{"system:masters"}}
	john, err := kubernetes.NewForConfig(root)
	check(t, err)
	ctx := t.Context()
	_, err = adminClient(t, server).CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	check(t, err)
	maps := john.CoreV1().ConfigMaps("default")

	_, err = maps.Create(ctx, mapOf("over-https", "a"), metav1.CreateOptions{})
	check(t, err)
	_, err = maps.Patch(ctx, "over-https", types.MergePatchType, []byte(`{"data":{"k":"b"}}`), metav1.PatchOptions{})
	check(t, err)
	_, err = john.CoreV1().Secrets("default").Create(ctx, password("over-https"), metav1.CreateOptions{})
	check(t, err)
	_, err = john.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	check(t, err)

	inside := server.Peer(txn.Identity{Name: "inside", Groups: []string{"system:masters"}}).Client()
	own := mapOf("in-process", "a")
	check(t, inside.Create(ctx, own))
	changed := own.DeepCopy()
	changed.Data["k"] = "b"
	check(t, inside.Patch(ctx, changed, client.MergeFrom(own)))
	check(t, inside.Create(ctx, password("in-process")))
	check(t, inside.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}, &authenticationv1.TokenRequest{}))
	check(t, inside.DeleteAllOf(ctx, &corev1.ConfigMap{}, client.InNamespace("default"), client.MatchingFields{"metadata.name": "in-process"}))

	var got []string
	for _, e := range auditLog(t, dir, stop) {
		switch e.User.Username {
		case "root":
			if !slices.Contains(e.User.Groups, "wheel") || e.ImpersonatedUser == nil || e.ImpersonatedUser.Username != "john" {
				t.Errorf("%s by %+v as %+v", story(&e), e.User, e.ImpersonatedUser)
			}
			got = append(got, "https: "+story(&e))
		case "inside":
			got = append(got, "inside: "+story(&e))
		}
	}
	want := []string{
		"https: create configmaps/over-https asked ConfigMap k=a answered ConfigMap k=a",
		"https: patch configmaps/over-https asked k=b answered ConfigMap k=b",
		"https: create secrets/over-https",
		"https: create serviceaccounts/default/token",
		"inside: create configmaps/in-process asked ConfigMap k=a answered ConfigMap k=a",
		"inside: patch configmaps/in-process asked k=b answered ConfigMap k=b",
		"inside: create secrets/in-process",
		"inside: create serviceaccounts/default/token",
		"inside: deletecollection configmaps/ asked DeleteOptions answered ConfigMapList",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestCommitsAreAudited finds one event a transaction that names everything,
// and one more for each change that the policy or admission has more about.
func TestCommitsAreAudited(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	check(t, os.WriteFile(policy, []byte(strings.Replace(bodiesPolicy, "namespaces: [default]", "namespaces: [default], resources: [{resources: [configmaps]}]", 1)), 0o600))
	server, stop := startIn(t, dir, func(c *apiserver.Config) { c.Audit = apiserver.AuditConfig{Policy: policy} })
	hook := answering(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true, AuditAnnotations: map[string]string{"seen": r.Name}}
	})
	hook.mutating(t, adminClient(t, server), "eyes", func(w *registrationv1.MutatingWebhook) { w.Rules[0].Resources = []string{"*"} })
	changes := func(prefix string) func(txn.View) ([]txn.Change, error) {
		return func(txn.View) ([]txn.Change, error) {
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: prefix + "-account"}}
			return []txn.Change{
				{Verb: txn.Create, Ref: txn.Ref{Resource: corev1.Resource("configmaps"), Namespace: "default", Name: prefix}, Version: "v1", Object: mapOf(prefix, "a")},
				{Verb: txn.Create, Ref: txn.Ref{Resource: corev1.Resource("secrets"), Namespace: "default", Name: prefix}, Version: "v1", Object: password(prefix)},
				{Verb: txn.Create, Ref: txn.Ref{Resource: corev1.Resource("serviceaccounts"), Namespace: "default", Name: account.Name}, Version: "v1", Object: account},
			}, nil
		}
	}
	inside := server.Peer(txn.Identity{Name: "inside", Groups: []string{"system:masters"}}).Txn()
	_, _, err := txn.Run(t.Context(), inside, txn.Identity{}, txn.CommitOptions{}, changes("in"))
	check(t, err)
	over := overHTTPS(t, server, "outside", []string{"system:masters"}, corev1.Resource("configmaps"))
	_, _, err = txn.Run(t.Context(), over, txn.Identity{Name: "outside"}, txn.CommitOptions{}, changes("over"))
	check(t, err)

	got := map[string][]string{}
	ids := map[string]types.UID{}
	for _, e := range auditLog(t, dir, stop) {
		who := e.User.Username
		objects := e.Annotations["txn.headway.sh/objects"]
		if objects == "" && e.ObjectRef == nil || who != "inside" && who != "outside" {
			continue
		}
		if ids[who] == "" {
			ids[who] = e.AuditID
		}
		if e.AuditID != ids[who] {
			t.Errorf("%s has the ID %s, others %s", story(&e), e.AuditID, ids[who])
		}
		if objects != "" {
			got[who] = append(got[who], e.Verb+" of "+e.Annotations["txn.headway.sh/changes"]+": "+objects)
			continue
		}
		got[who] = append(got[who], story(&e)+" seen "+e.Annotations["eyes.example.com/seen"])
	}
	want := map[string][]string{
		"inside": {
			"commit of 3: create configmaps default/in; create secrets default/in; create serviceaccounts default/in-account",
			"create configmaps/in asked ConfigMap k=a answered ConfigMap k=a seen in",
			"create secrets/in seen in", "create serviceaccounts/in-account seen in-account",
		},
		"outside": {
			"create configmaps/over asked ConfigMap k=a answered ConfigMap k=a seen over",
			"create secrets/over seen over", "create serviceaccounts/over-account seen over-account",
			"post of 3: create configmaps default/over; create secrets default/over; create serviceaccounts default/over-account",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
