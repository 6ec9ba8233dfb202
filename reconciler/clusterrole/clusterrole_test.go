package clusterrole_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/reconciler/clusterrole"
)

func TestRulesOfAllThatMatchOnce(t *testing.T) {
	t.Parallel()
	rule := func(resource string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{"get"}, Resources: []string{resource}}
	}
	role := func(name, aggregate string, rules ...rbacv1.PolicyRule) rbacv1.ClusterRole {
		return rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"to": aggregate}}, Rules: rules}
	}
	view := role("view", "view", rule("stale"))
	view.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"to": "view"}}}}
	got, err := clusterrole.Rules(&view, []rbacv1.ClusterRole{view, role("b", "view", rule("pods"), rule("nodes")), role("a", "view", rule("pods")), role("c", "edit", rule("secrets"))})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]rbacv1.PolicyRule{rule("pods"), rule("nodes")}, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}
