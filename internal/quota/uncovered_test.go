package quota_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/internal/quota"
)

func TestUncovered(t *testing.T) {
	t.Parallel()
	in := func(values ...string) corev1.ScopedResourceSelectorRequirement {
		return corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: values}
	}
	rules := []quota.Rule{
		{Resource: corev1.Resource("pods"), Contains: []string{"requests.cpu", "ephemeral-storage"}},
		{Resource: corev1.Resource("pods"), Scopes: []corev1.ScopedResourceSelectorRequirement{in("high", "higher")}},
		{Resource: corev1.Resource("services"), Contains: []string{"services"}},
	}
	pod := func(class, cpu string) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{PriorityClassName: class, Containers: []corev1.Container{{Name: "c"}}}}
		if cpu != "" {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse(cpu)}
		}
		return p
	}
	of := func(name string, scopes ...corev1.ScopedResourceSelectorRequirement) *corev1.ResourceQuota {
		q := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceName(name): resource.MustParse("1")}}}
		if len(scopes) > 0 {
			q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: scopes}
		}
		return q
	}
	for name, c := range map[string]struct {
		quotas []*corev1.ResourceQuota
		old, o runtime.Object
		want   string
	}{
		"uses nothing named":         {nil, nil, pod("", ""), ""},
		"no quota":                   {nil, nil, pod("", "1"), "insufficient quota to consume: requests.cpu"},
		"a quota for something else": {[]*corev1.ResourceQuota{of("pods")}, nil, pod("", "1"), "insufficient quota to consume: requests.cpu"},
		"a quota":                    {[]*corev1.ResourceQuota{of("requests.cpu")}, nil, pod("", "1"), ""},
		"a quota for others":         {[]*corev1.ResourceQuota{of("requests.cpu", in("low"))}, nil, pod("", "1"), "insufficient quota to consume: requests.cpu"},
		"class without a quota":      {[]*corev1.ResourceQuota{of("pods")}, nil, pod("high", ""), "insufficient quota to match these scopes: [{PriorityClass In [high higher]}]"},
		"class with one":             {[]*corev1.ResourceQuota{of("pods", in("high"))}, nil, pod("high", ""), ""},
		"class with one for another": {[]*corev1.ResourceQuota{of("pods", in("higher"))}, nil, pod("high", ""), "insufficient quota to match these scopes: [{PriorityClass In [high higher]}]"},
		"as much as before":          {nil, pod("", "1"), pod("", "1"), ""},
		"more than before":           {nil, pod("", "1"), pod("", "2"), "insufficient quota to consume: requests.cpu"},
		"less than before":           {nil, pod("", "2"), pod("", "1"), ""},
	} {
		err := quota.Uncovered(rules, c.quotas, corev1.Resource("pods"), c.old, c.o, time.Now())
		if got := textOf(err); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if err := quota.Uncovered(rules, nil, corev1.Resource("configmaps"), nil, &corev1.ConfigMap{}, time.Now()); err != nil {
		t.Errorf("what no rule is about: %v", err)
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
