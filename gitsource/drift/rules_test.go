package drift_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/plan"
)

func TestRules(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	web := plan.Entry{Group: "apps", Resource: "deployments", Kind: "Deployment", Namespace: "shop", Name: "web", Origin: "apps/web/deploy.yaml:3"}
	const image = `spec.template.spec.containers[name="web"].image`
	for _, test := range []struct {
		name  string
		rule  v1alpha1.DriftRule
		field string
		fits  bool
	}{
		{"everything", v1alpha1.DriftRule{}, "spec.replicas", true},
		{"everything, as a whole", v1alpha1.DriftRule{}, "", true},
		{"a field", v1alpha1.DriftRule{Fields: []string{"spec.replicas"}}, "spec.replicas", true},
		{"a field is not the whole", v1alpha1.DriftRule{Fields: []string{"spec.replicas"}}, "", false},
		{"below a field", v1alpha1.DriftRule{Fields: []string{"spec.template"}}, image, true},
		{"above a field", v1alpha1.DriftRule{Fields: []string{image}}, "spec.template", false},
		{"a longer word", v1alpha1.DriftRule{Fields: []string{"spec.rep"}}, "spec.replicas", false},
		{"every item", v1alpha1.DriftRule{Fields: []string{"spec.template.spec.containers[*].image"}}, image, true},
		{"one item", v1alpha1.DriftRule{Fields: []string{image}}, image, true},
		{"another item", v1alpha1.DriftRule{Fields: []string{`spec.template.spec.containers[name="db"].image`}}, image, false},
		{"a key with dots", v1alpha1.DriftRule{Fields: []string{`metadata.annotations["a.b/c]d"]`}}, `metadata.annotations["a.b/c]d"]`, true},
		{"another key with dots", v1alpha1.DriftRule{Fields: []string{`metadata.annotations["a.b"]`}}, `metadata.annotations["a.b/c"]`, false},
		{"a file", v1alpha1.DriftRule{Paths: []string{"apps/web/deploy.yaml"}}, "", true},
		{"a directory", v1alpha1.DriftRule{Paths: []string{"apps"}}, "", true},
		{"a directory's pattern", v1alpha1.DriftRule{Paths: []string{"apps/*"}}, "", true},
		{"another directory", v1alpha1.DriftRule{Paths: []string{"app"}}, "", false},
		{"kind", v1alpha1.DriftRule{Kinds: []string{"deployment"}}, "", true},
		{"resource", v1alpha1.DriftRule{Kinds: []string{"deployments"}}, "", true},
		{"another kind", v1alpha1.DriftRule{Kinds: []string{"Service"}}, "", false},
		{"namespace and name", v1alpha1.DriftRule{Namespaces: []string{"sh*"}, Names: []string{"web"}}, "", true},
		{"another name", v1alpha1.DriftRule{Namespaces: []string{"sh*"}, Names: []string{"db"}}, "", false},
		{"still in force", v1alpha1.DriftRule{Until: &metav1.Time{Time: now.Add(time.Second)}}, "", true},
		{"over", v1alpha1.DriftRule{Until: &metav1.Time{Time: now}}, "", false},
		{"an open bracket", v1alpha1.DriftRule{Fields: []string{"spec.containers["}}, "spec.containers", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.rule.Policy = v1alpha1.DriftDeny
			rules := drift.NewRules(&v1alpha1.DriftSpec{Policy: v1alpha1.DriftReport, Rules: []v1alpha1.DriftRule{test.rule}})
			want := v1alpha1.DriftReport
			if test.fits {
				want = v1alpha1.DriftDeny
			}
			if got := rules.For(&web, test.field, now); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}
