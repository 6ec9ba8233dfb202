package admission_test

import (
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authz"
)

// bySubject shows objects with the index that authorization reads.
func bySubject(t *testing.T, objects ...txn.Object) txn.View {
	t.Helper()
	pending := map[txn.Ref]txn.Object{}
	for _, o := range objects {
		pending[kindOf(t, o).Ref(o.GetNamespace(), o.GetName())] = o
	}
	return txn.Overlay(empty{}, pending, func(_ schema.GroupResource, index string, o txn.Object) []string {
		if index != authz.IndexSubject {
			return nil
		}
		return authz.Subjects(o)
	})
}

// may gives alice a cluster role of those rules.
func may(rules ...rbacv1.PolicyRule) []txn.Object {
	return []txn.Object{
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "alices"}, Rules: rules},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "alices"},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "alices"},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}}},
	}
}

func grant(group, resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
}

func TestNobodyHandsOutMoreThanTheyHave(t *testing.T) {
	t.Parallel()
	readPods, all := grant("", "pods", "get"), grant("*", "*", "*")
	role := func(rules ...rbacv1.PolicyRule) txn.Object {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "r"}, Rules: rules}
	}
	clusterRole := func(sum bool) txn.Object {
		r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r"}}
		if sum {
			r.AggregationRule = &rbacv1.AggregationRule{}
		}
		return r
	}
	binding := func(to string) txn.Object {
		return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "b"},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: to}}
	}
	tests := []struct {
		name    string
		holds   []rbacv1.PolicyRule
		o, old  txn.Object
		allowed bool
	}{
		{name: "role with what is held", holds: []rbacv1.PolicyRule{readPods}, o: role(readPods), allowed: true},
		{name: "role with more", holds: []rbacv1.PolicyRule{readPods}, o: role(readPods, grant("", "secrets", "get"))},
		{name: "role with another verb", holds: []rbacv1.PolicyRule{readPods}, o: role(grant("", "pods", "get", "delete"))},
		{name: "role with more, left as it was", holds: nil, o: role(all), old: role(all), allowed: true},
		{name: "role with more, by escalation", holds: []rbacv1.PolicyRule{grant(rbacv1.GroupName, "roles", "escalate")}, o: role(all), allowed: true},
		{name: "sum of roles", holds: []rbacv1.PolicyRule{readPods}, o: clusterRole(true)},
		{name: "empty role", o: clusterRole(false), allowed: true},
		{name: "binding of what is held", holds: []rbacv1.PolicyRule{readPods}, o: binding("alices"), allowed: true},
		{name: "binding of more", holds: []rbacv1.PolicyRule{readPods}, o: binding("big")},
		{name: "binding of more, by bind", holds: []rbacv1.PolicyRule{grant(rbacv1.GroupName, "clusterroles", "bind")}, o: binding("big"), allowed: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			objects := append(may(test.holds...), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "big"}, Rules: []rbacv1.PolicyRule{all}})
			err := step(t, "RBACEscalation", bySubject(t, objects...), request(t, test.o, test.old))
			if test.allowed && err != nil || !test.allowed && !apierrors.IsForbidden(err) {
				t.Errorf("error %v, allowed should be %v", err, test.allowed)
			}
		})
	}
	missing := step(t, "RBACEscalation", bySubject(t), request(t, binding("nothing"), nil))
	if !apierrors.IsNotFound(missing) {
		t.Errorf("binding of a role that is not there: %v", missing)
	}
}

func TestSignersAreNamedByRBAC(t *testing.T) {
	t.Parallel()
	signer := func(verb, name string) rbacv1.PolicyRule {
		r := grant("certificates.k8s.io", "signers", verb)
		r.ResourceNames = []string{name}
		return r
	}
	asked := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "c"},
		Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: "example.com/clients"}}
	signed := asked.DeepCopy()
	signed.Status.Certificate = []byte("x")
	tests := []struct {
		subresource string
		holds       rbacv1.PolicyRule
		o           txn.Object
		allowed     bool
	}{
		{"approval", signer("approve", "example.com/clients"), asked, true},
		{"approval", signer("approve", "example.com/*"), asked, true},
		{"approval", signer("approve", "example.com/servers"), asked, false},
		{"approval", signer("sign", "example.com/clients"), asked, false},
		{"status", signer("sign", "example.com/clients"), signed, true},
		{"status", signer("approve", "example.com/clients"), signed, false},
		{"status", signer("approve", "example.com/clients"), asked, true},
	}
	for _, test := range tests {
		r := request(t, test.o, asked)
		r.Subresource = test.subresource
		err := step(t, "CertificateSigners", bySubject(t, may(test.holds)...), r)
		if test.allowed && err != nil || !test.allowed && !apierrors.IsForbidden(err) {
			t.Errorf("%s with %v: error %v, allowed should be %v", test.subresource, test.holds, err, test.allowed)
		}
	}
}
