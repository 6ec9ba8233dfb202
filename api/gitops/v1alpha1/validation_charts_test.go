package v1alpha1_test

import (
	"strings"
	"testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

func TestValidateChartRepositories(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		repository v1alpha1.ChartRepository
		want       string // part of the message; empty: valid
	}{
		"https":           {v1alpha1.ChartRepository{URL: "https://charts.example.org/stable"}, ""},
		"a path":          {v1alpha1.ChartRepository{URL: "/srv/charts"}, ""},
		"file":            {v1alpha1.ChartRepository{URL: "file:///srv/charts"}, ""},
		"http":            {v1alpha1.ChartRepository{URL: "http://charts.example.org"}, "must be https"},
		"another's files": {v1alpha1.ChartRepository{URL: "file://host/srv"}, "must be https"},
		"a relative path": {v1alpha1.ChartRepository{URL: "charts"}, "must be https"},
		"nothing":         {v1alpha1.ChartRepository{}, "must be https"},
		"a registry":      {v1alpha1.ChartRepository{URL: "oci://charts.example.org"}, "must be https"},
		"a password":      {v1alpha1.ChartRepository{URL: "https://jane:secret@charts.example.org"}, "without a password"},
		"no certificate":  {v1alpha1.ChartRepository{URL: "https://charts.example.org", CABundle: []byte("x")}, "caBundle"},
	} {
		errs := v1alpha1.ValidateGitSource(source(func(s *v1alpha1.GitSourceSpec) {
			s.Helm = &v1alpha1.HelmSpec{Repositories: []v1alpha1.ChartRepository{c.repository}}
		}), nil)
		if got := errs.ToAggregate(); c.want == "" && got != nil || c.want != "" && (got == nil || !strings.Contains(got.Error(), c.want) || strings.Contains(got.Error(), "secret")) {
			t.Errorf("%s: %v, want %q", name, got, c.want)
		}
	}
}

func TestValidatePlan(t *testing.T) {
	t.Parallel()
	main := v1alpha1.GitReference{Branch: "main"}
	for name, c := range map[string]struct {
		spec v1alpha1.PlanSpec
		want string
	}{
		"of a branch":     {v1alpha1.PlanSpec{Source: "main", Ref: main}, ""},
		"between two":     {v1alpha1.PlanSpec{Source: "main", Ref: main, Base: &v1alpha1.GitReference{Tag: "v1"}}, ""},
		"no source":       {v1alpha1.PlanSpec{Ref: main}, "spec.source"},
		"no reference":    {v1alpha1.PlanSpec{Source: "main"}, "spec.ref"},
		"an empty base":   {v1alpha1.PlanSpec{Source: "main", Ref: main, Base: &v1alpha1.GitReference{}}, "spec.base"},
		"a base of words": {v1alpha1.PlanSpec{Source: "main", Ref: main, Base: &v1alpha1.GitReference{Commit: "x"}}, "spec.base.commit"},
	} {
		got := v1alpha1.ValidatePlan(&v1alpha1.Plan{Spec: c.spec}, nil).ToAggregate()
		if c.want == "" && got != nil || c.want != "" && (got == nil || !strings.Contains(got.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, got, c.want)
		}
	}
}
