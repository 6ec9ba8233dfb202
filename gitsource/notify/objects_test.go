package notify_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/notify"
)

func TestNarrow(t *testing.T) {
	t.Parallel()
	web := notify.Object{Kind: "Deployment", Group: "apps", Resource: "deployments", Namespace: "shop", Name: "web-1"}
	role := notify.Object{Resource: "clusterroles", Group: "rbac.authorization.k8s.io", Name: "web-1"} // whose kind is not known
	both := []notify.Object{web, role}
	m := notify.Message{Problems: []v1alpha1.Problem{{Object: "deployments.apps shop/web-1"}, {Object: "clusterroles.rbac.authorization.k8s.io web-1"}, {Message: "of no object"}}}
	for name, c := range map[string]struct {
		about    []notify.Object
		filter   v1alpha1.NotificationObjects
		want     []notify.Object
		problems int
		untold   bool
	}{
		"kind":                {about: both, filter: v1alpha1.NotificationObjects{Kinds: []string{"Deployment"}}, want: []notify.Object{web}, problems: 2},
		"kind and group":      {about: both, filter: v1alpha1.NotificationObjects{Kinds: []string{"Deployment.apps"}}, want: []notify.Object{web}, problems: 2},
		"another group":       {about: both, filter: v1alpha1.NotificationObjects{Kinds: []string{"Deployment.extensions"}}, untold: true},
		"a kind by resource":  {about: both, filter: v1alpha1.NotificationObjects{Kinds: []string{"ClusterRole"}}, want: []notify.Object{role}, problems: 2},
		"namespace":           {about: both, filter: v1alpha1.NotificationObjects{Namespaces: []string{"sh*"}}, want: []notify.Object{web}, problems: 2},
		"any namespace":       {about: both, filter: v1alpha1.NotificationObjects{Namespaces: []string{"*"}}, want: []notify.Object{web}, problems: 2},
		"name":                {about: both, filter: v1alpha1.NotificationObjects{Names: []string{"web-?"}}, want: both, problems: 3},
		"all have to be true": {about: both, filter: v1alpha1.NotificationObjects{Kinds: []string{"Deployment"}, Names: []string{"db"}}, untold: true},
		"of nothing":          {about: []notify.Object{}, filter: v1alpha1.NotificationObjects{Names: []string{"*"}}, untold: true},
		"not known":           {filter: v1alpha1.NotificationObjects{Names: []string{"db"}}, problems: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, told := m.Narrow(c.about, []v1alpha1.NotificationObjects{c.filter})
			if told == c.untold {
				t.Fatalf("told: %v", told)
			}
			if diff := cmp.Diff(c.want, got.Objects); told && diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			if told && len(got.Problems) != c.problems {
				t.Errorf("problems: %+v", got.Problems)
			}
		})
	}
	if got, told := m.Narrow(both, nil); !told || len(got.Problems) != 3 || len(got.Objects) != 2 {
		t.Errorf("without a filter: %v, %+v", told, got)
	}
}
