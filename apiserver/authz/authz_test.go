package authz_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authz"
	"github.com/headway-sh/headway/apiserver/authz/policy"
)

func index(r schema.GroupResource, name string, o txn.Object) []string {
	if name == authz.IndexSubject {
		return authz.Subjects(o)
	}
	return []string{o.(*corev1.Pod).Spec.NodeName}
}

// cluster is a View of the bootstrap policy and the objects.
func cluster(t *testing.T, objects ...txn.Object) txn.View {
	t.Helper()
	all := map[txn.Ref]txn.Object{}
	for _, c := range policy.Changes(txn.Empty{}) {
		all[c.Ref] = c.Object
	}
	for _, o := range objects {
		var r schema.GroupResource
		switch o.(type) {
		case *corev1.Pod:
			r = schema.GroupResource{Resource: "pods"}
		case *rbacv1.Role:
			r = schema.GroupResource{Group: rbacv1.GroupName, Resource: "roles"}
		case *rbacv1.RoleBinding:
			r = schema.GroupResource{Group: rbacv1.GroupName, Resource: "rolebindings"}
		default:
			t.Fatalf("no resource for %T", o)
		}
		all[txn.Ref{Resource: r, Namespace: o.GetNamespace(), Name: o.GetName()}] = o
	}
	return txn.Overlay(txn.Empty{}, all, index)
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.PodSpec{
		NodeName: "n1", ServiceAccountName: "web",
		Containers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}}},
		Volumes:    []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "tls"}}}},
	}}
	reader := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reader"}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods", "*/status"}, ResourceNames: []string{"web"}}}}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reader"},
		RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "jane"}, {Kind: "ServiceAccount", Name: "robot"}}}
	view := cluster(t, pod, reader, binding)

	user := func(name string, groups ...string) txn.Identity {
		return txn.Identity{Name: name, Groups: append(groups, "system:authenticated")}
	}
	n1, n2 := user("system:node:n1", "system:nodes"), user("system:node:n2", "system:nodes")
	scheduler, jane := user("system:kube-scheduler"), user("jane")
	for name, c := range map[string]struct {
		who  txn.Identity
		a    authz.Attributes
		want bool
	}{
		"administrators may everything":              {user("root", "system:masters"), authz.Attributes{Verb: "delete", Resource: "nodes"}, true},
		"a stranger may nothing":                     {user("eve"), authz.Attributes{Verb: "get", Resource: "pods", Namespace: "shop", Name: "web"}, false},
		"everybody may discover":                     {user("eve"), authz.Attributes{Verb: "get", Path: "/apis/apps/v1"}, true},
		"nobody else sees metrics":                   {user("eve"), authz.Attributes{Verb: "get", Path: "/metrics"}, false},
		"a role by name":                             {jane, authz.Attributes{Verb: "get", Resource: "pods", Namespace: "shop", Name: "web"}, true},
		"a role for another name":                    {jane, authz.Attributes{Verb: "get", Resource: "pods", Namespace: "shop", Name: "db"}, false},
		"a role in another namespace":                {jane, authz.Attributes{Verb: "get", Resource: "pods", Namespace: "other", Name: "web"}, false},
		"any status":                                 {jane, authz.Attributes{Verb: "get", Resource: "pods", Subresource: "status", Namespace: "shop", Name: "web"}, true},
		"a subresource is not its object":            {jane, authz.Attributes{Verb: "get", Resource: "pods", Subresource: "log", Namespace: "shop", Name: "web"}, false},
		"an account of the binding's namespace":      {user("system:serviceaccount:shop:robot"), authz.Attributes{Verb: "get", Resource: "pods", Namespace: "shop", Name: "web"}, true},
		"the scheduler binds":                        {scheduler, authz.Attributes{Verb: "create", Resource: "pods", Subresource: "binding", Namespace: "shop", Name: "web"}, true},
		"the scheduler reads no Secret":              {scheduler, authz.Attributes{Verb: "get", Resource: "secrets", Namespace: "shop", Name: "tls"}, false},
		"a node reads its pod's Secret":              {n1, authz.Attributes{Verb: "get", Resource: "secrets", Namespace: "shop", Name: "tls"}, true},
		"a node watches one Secret by name":          {n1, authz.Attributes{Verb: "watch", Resource: "secrets", Namespace: "shop", Name: "tls"}, true},
		"a node reads its pod's ConfigMap":           {n1, authz.Attributes{Verb: "get", Resource: "configmaps", Namespace: "shop", Name: "settings"}, true},
		"another node does not":                      {n2, authz.Attributes{Verb: "get", Resource: "secrets", Namespace: "shop", Name: "tls"}, false},
		"a node lists no Secrets":                    {n1, authz.Attributes{Verb: "list", Resource: "secrets", Namespace: "shop"}, false},
		"a node makes its pod's token":               {n1, authz.Attributes{Verb: "create", Resource: "serviceaccounts", Subresource: "token", Namespace: "shop", Name: "web"}, true},
		"a node makes no foreign token":              {n2, authz.Attributes{Verb: "create", Resource: "serviceaccounts", Subresource: "token", Namespace: "shop", Name: "web"}, false},
		"a node watches its pods":                    {n1, authz.Attributes{Verb: "watch", Resource: "pods", FieldSelector: "spec.nodeName=n1"}, true},
		"a node does not watch all pods":             {n1, authz.Attributes{Verb: "watch", Resource: "pods"}, false},
		"a node does not watch another's pods":       {n1, authz.Attributes{Verb: "watch", Resource: "pods", FieldSelector: "spec.nodeName=n2"}, false},
		"a node watches its pods and more narrowly":  {n1, authz.Attributes{Verb: "watch", Resource: "pods", FieldSelector: "status.phase!=Failed,spec.nodeName==n1"}, true},
		"an escaped comma in a value is no selector": {n1, authz.Attributes{Verb: "list", Resource: "pods", FieldSelector: `metadata.name!=x\,spec.nodeName=n1`}, false},
		"all pods but the node's own":                {n1, authz.Attributes{Verb: "list", Resource: "pods", FieldSelector: "spec.nodeName!=n1"}, false},
		"a node reports its pod":                     {n1, authz.Attributes{Verb: "patch", Resource: "pods", Subresource: "status", Namespace: "shop", Name: "web"}, true},
		"a node reports no foreign pod":              {n2, authz.Attributes{Verb: "patch", Resource: "pods", Subresource: "status", Namespace: "shop", Name: "web"}, false},
		"a node keeps its Lease":                     {n1, authz.Attributes{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-node-lease", Name: "n1"}, true},
		"a node keeps no other Lease":                {n1, authz.Attributes{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-node-lease", Name: "n2"}, false},
		"a name like a node's without the group":     {user("system:node:n1"), authz.Attributes{Verb: "get", Resource: "secrets", Namespace: "shop", Name: "tls"}, false},
		"the garbage collector deletes everything":   {user("system:serviceaccount:kube-system:generic-garbage-collector"), authz.Attributes{Verb: "delete", Group: "any.example", Resource: "things", Namespace: "shop", Name: "x"}, true},
	} {
		if got, reason := (authz.Authorizer{}).Authorize(view, c.who, c.a); got != c.want {
			t.Errorf("%s: got %v (%s), want %v", name, got, reason, c.want)
		}
	}
}

func TestUncovered(t *testing.T) {
	t.Parallel()
	view := cluster(t)
	wanted := []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}}}
	if missing := authz.Uncovered(view, txn.Identity{Name: "jane"}, "shop", wanted); len(missing) != 1 {
		t.Errorf("jane may hand out what she lacks: %v", missing)
	}
	if missing := authz.Uncovered(view, txn.Identity{Name: "root", Groups: []string{"system:masters"}}, "shop", wanted); missing != nil {
		t.Errorf("an administrator lacks %v", missing)
	}
}

// Bringing a cluster up to the policy twice changes nothing the second time,
// keeps what people added and leaves alone what they switched off.
func TestPolicyReconciles(t *testing.T) {
	t.Parallel()
	all := map[txn.Ref]txn.Object{}
	for _, c := range policy.Changes(txn.Empty{}) {
		if c.Verb != txn.Create {
			t.Fatalf("%s: %s on an empty cluster", c.Ref, c.Verb)
		}
		all[c.Ref] = c.Object
	}
	if again := policy.Changes(txn.Overlay(txn.Empty{}, all, index)); len(again) != 0 {
		t.Fatalf("%d changes on the second start, first: %s", len(again), again[0].Ref)
	}
	view := txn.Ref{Resource: schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterroles"}, Name: "system:discovery"}
	edited := all[view].DeepCopyObject().(*rbacv1.ClusterRole)
	edited.Rules = []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/mine"}}}
	all[view] = edited
	changes := policy.Changes(txn.Overlay(txn.Empty{}, all, index))
	if len(changes) != 1 || changes[0].Verb != txn.Update {
		t.Fatalf("an edited role gives %d changes", len(changes))
	}
	urls := map[string]bool{}
	for _, r := range changes[0].Object.(*rbacv1.ClusterRole).Rules {
		for _, u := range r.NonResourceURLs {
			urls[u] = true
		}
	}
	if !urls["/mine"] || !urls["/apis/*"] {
		t.Errorf("rules after repair: %v", urls)
	}
	edited.Annotations[rbacv1.AutoUpdateAnnotationKey] = "false"
	if changes := policy.Changes(txn.Overlay(txn.Empty{}, all, index)); len(changes) != 0 {
		t.Errorf("a switched-off role was changed")
	}
}

func BenchmarkAuthorize(b *testing.B) {
	all := map[txn.Ref]txn.Object{}
	for _, c := range policy.Changes(txn.Empty{}) {
		all[c.Ref] = c.Object
	}
	view := txn.Overlay(txn.Empty{}, all, index)
	who := txn.Identity{Name: "system:kube-scheduler", Groups: []string{"system:authenticated"}}
	for b.Loop() {
		authz.Authorizer{}.Authorize(view, who, authz.Attributes{Verb: "create", Resource: "pods", Subresource: "binding", Namespace: "a", Name: "b"})
	}
}

// TestReasonsNameTheGrant has the words that Kubernetes' audit annotations and
// access reviews have.
func TestReasonsNameTheGrant(t *testing.T) {
	t.Parallel()
	reader := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reader"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "readers"},
		RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "jane"}, {Kind: "Group", Name: "ops"}, {Kind: "ServiceAccount", Name: "robot"}}}
	view := cluster(t, reader, binding)
	for who, want := range map[string]struct {
		id     txn.Identity
		reason string
	}{
		"user":    {txn.Identity{Name: "jane"}, `RBAC: allowed by RoleBinding "readers/shop" of Role "reader" to User "jane"`},
		"group":   {txn.Identity{Name: "joe", Groups: []string{"ops"}}, `RBAC: allowed by RoleBinding "readers/shop" of Role "reader" to Group "ops"`},
		"account": {txn.Identity{Name: "system:serviceaccount:shop:robot"}, `RBAC: allowed by RoleBinding "readers/shop" of Role "reader" to ServiceAccount "robot/shop"`},
		"nobody":  {txn.Identity{Name: "joe"}, ""},
	} {
		allowed, reason := authz.Authorizer{}.Authorize(view, want.id, authz.Attributes{Verb: "get", Resource: "pods", Namespace: "shop", Name: "web"})
		if reason != want.reason || allowed != (want.reason != "") {
			t.Errorf("%s: %v, %s", who, allowed, reason)
		}
	}
}
