package match_test

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission/match"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

// scaled is a kind that is served in two versions.
func scaled() (stored, older *kind.Kind) {
	stored = &kind.Kind{GVK: schema.GroupVersionKind{Group: "autoscaling", Version: "v2", Kind: "Scaler"}, Plural: "scalers", Namespaced: true}
	return stored, stored.Serve(kind.Version{GVK: schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scaler"}})
}

func TestRules(t *testing.T) {
	t.Parallel()
	stored, older := scaled()
	rule := func(version, resource string, operations ...admissionv1.OperationType) admissionv1.RuleWithOperations {
		return admissionv1.RuleWithOperations{Operations: operations, Rule: admissionv1.Rule{APIGroups: []string{"autoscaling"}, APIVersions: []string{version}, Resources: []string{resource}}}
	}
	tests := map[string]struct {
		rule        admissionv1.RuleWithOperations
		policy      admissionv1.MatchPolicyType
		subresource string
		want        *kind.Kind
	}{
		"the request's version":              {rule("v2", "scalers", "CREATE"), admissionv1.Exact, "", stored},
		"any version":                        {rule("*", "*", "*"), admissionv1.Exact, "", stored},
		"another version, exactly":           {rule("v1", "scalers", "CREATE"), admissionv1.Exact, "", nil},
		"another version, or equivalent":     {rule("v1", "scalers", "CREATE"), admissionv1.Equivalent, "", older},
		"a version that is not served":       {rule("v3", "scalers", "CREATE"), admissionv1.Equivalent, "", nil},
		"another operation":                  {rule("v2", "scalers", "UPDATE", "DELETE"), admissionv1.Equivalent, "", nil},
		"the resource is not its parts":      {rule("v2", "scalers", "CREATE"), admissionv1.Equivalent, "status", nil},
		"nor are all resources":              {rule("v2", "*", "CREATE"), admissionv1.Equivalent, "status", nil},
		"all parts of the resource":          {rule("v2", "scalers/*", "CREATE"), admissionv1.Exact, "status", stored},
		"all parts, and the resource itself": {rule("v2", "scalers/*", "CREATE"), admissionv1.Exact, "", stored},
		"a part of all resources":            {rule("v2", "*/status", "CREATE"), admissionv1.Exact, "status", stored},
		"everything":                         {rule("v2", "*/*", "CREATE"), admissionv1.Exact, "status", stored},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &write.Request{Operation: write.OperationCreate, Kind: stored, Served: stored, Subresource: tt.subresource, Ref: stored.Ref("shop", "a")}
			as, ok := match.Rules([]admissionv1.RuleWithOperations{tt.rule}, &tt.policy, r)
			if as != tt.want || ok != (tt.want != nil) {
				t.Errorf("got %v, %v", as, ok)
			}
		})
	}
	r := &write.Request{Operation: write.OperationCreate, Kind: stored, Served: older, Ref: stored.Ref("shop", "a")}
	named := []admissionv1.NamedRuleWithOperations{{ResourceNames: []string{"a"}, RuleWithOperations: rule("v2", "scalers", "*")}}
	if as, ok := match.NamedRules(named, ptr.To(admissionv1.Equivalent), r); !ok || as != stored {
		t.Errorf("sent in the older version: got %v, %v", as, ok)
	}
	r.Ref.Name = "b"
	if _, ok := match.NamedRules(named, ptr.To(admissionv1.Equivalent), r); ok {
		t.Error("another name matches")
	}
}

// TestSelectorLikeTheLibrary compares with apimachinery's selectors.
func TestSelectorLikeTheLibrary(t *testing.T) {
	t.Parallel()
	var selectors []metav1.LabelSelector
	for _, operator := range []metav1.LabelSelectorOperator{"In", "NotIn", "Exists", "DoesNotExist"} {
		var values []string
		if operator == "In" || operator == "NotIn" {
			values = []string{"x", "y"}
		}
		one := metav1.LabelSelectorRequirement{Key: "a", Operator: operator, Values: values}
		selectors = append(selectors, metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{one}},
			metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{one}, MatchLabels: map[string]string{"b": "z"}})
	}
	for _, s := range append(selectors, metav1.LabelSelector{}) {
		for _, set := range []labels.Set{nil, {"a": "x"}, {"a": "z"}, {"b": "z"}, {"a": "y", "b": "z"}, {"a": "", "b": ""}} {
			library, err := metav1.LabelSelectorAsSelector(&s)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := match.Selector(&s, set), library.Matches(set); got != want {
				t.Errorf("%s on %v: got %v, want %v", metav1.FormatLabelSelector(&s), set, got, want)
			}
		}
	}
}

// BenchmarkRules is what every write pays for a webhook that is not about it.
func BenchmarkRules(b *testing.B) {
	stored, _ := scaled()
	r := &write.Request{Operation: write.OperationUpdate, Kind: stored, Served: stored, Ref: txn.Ref{Resource: stored.Resource(), Namespace: "shop", Name: "a"}}
	rules := []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{"CREATE", "UPDATE"}, Rule: admissionv1.Rule{
		APIGroups: []string{"", "apps"}, APIVersions: []string{"v1"}, Resources: []string{"pods", "deployments/*", "*/scale"}}}}
	policy := admissionv1.Equivalent
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := match.Rules(rules, &policy, r); ok {
			b.Fatal("matches")
		}
	}
}
