package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
)

func twoTenants() []v1alpha1.Tenant {
	return []v1alpha1.Tenant{
		{Name: "a", Paths: []string{"teams/a"}, Namespaces: []string{"a", "shared"}, ServiceAccountName: "deployer"},
		{Name: "b", Paths: []string{"teams/b"}, Namespaces: []string{"b", "shared"}, ServiceAccountName: "deployer", ClusterResources: true},
	}
}

// TestTenantsStayApart: what single objects of tenants' files come to.
func TestTenantsStayApart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file, text string
		owners     []string
		want       string // the problem; empty: none
	}{
		"his namespace":      {file: "teams/a/x.yaml", text: "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: a}}"},
		"the source's file":  {file: "x.yaml", text: "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: b}}"},
		"several namespaces": {file: "teams/a/x.yaml", text: "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}", want: `the tenant "a" has several namespaces (a, shared): the object has to name one`},
		"beyond":             {file: "teams/a/x.yaml", text: "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: b}}", want: `the tenant "a" may not reach into the namespace "b", only into a, shared`},
		"cluster":            {file: "teams/a/x.yaml", text: "{apiVersion: v1, kind: Node, metadata: {name: x}}", want: `the tenant "a" may not have objects outside of namespaces`},
		"permitted cluster":  {file: "teams/b/x.yaml", text: "{apiVersion: v1, kind: Node, metadata: {name: x}}"},
		"sources":            {file: "teams/b/x.yaml", text: "{apiVersion: gitops.headway.sh/v1alpha1, kind: GitSource, metadata: {name: x}}", want: `the tenant "b" may not have objects of the group gitops.headway.sh: they decide about the cluster's other sources`},
		"another's account":  {file: "teams/a/x.yaml", text: "{apiVersion: v1, kind: ServiceAccount, metadata: {name: release, namespace: shared}}", want: `the tenant "a" may not use the service account shared/release, as which the tenant "c" acts`},
		"running as another": {file: "teams/a/x.yaml", text: "{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: shared}, spec: {serviceAccountName: release}}", want: `the tenant "a" may not use the service account shared/release, as which the tenant "c" acts`},
		"another's token":    {file: "teams/a/x.yaml", text: "{apiVersion: v1, kind: Secret, metadata: {name: x, namespace: shared, annotations: {kubernetes.io/service-account.name: release}}}", want: `the tenant "a" may not use the service account shared/release, as which the tenant "c" acts`},
		"built of others'":   {file: "x.yaml", owners: []string{"a"}, text: "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: b}}", want: `the tenant "a" may not reach into the namespace "b", only into a, shared`},
		"of two":             {file: "teams/a/x.yaml", owners: []string{"b"}, text: "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: shared}}", want: "is made of files of several tenants (b, a): nobody's rights would be right for it; keep them apart"},
		"of one who is gone": {file: "x.yaml", owners: []string{"z"}, text: "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: a}}", want: `was written by the tenant "z", which the source has no more`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := object(t, c.text)
			o.File, o.Owners = c.file, c.owners
			in := newBench().input(t, o)
			in.Spec.Tenants = append(twoTenants(), v1alpha1.Tenant{Name: "c", Paths: []string{"teams/c"}, Namespaces: []string{"shared"}, ServiceAccountName: "release"})
			got := ""
			for _, p := range plan.Make(in).Problems {
				if p.Line != 1 {
					t.Errorf("%s has no place", p)
				}
				if strings.HasSuffix(p.Message, "/deployer, which does not exist") {
					continue // the accounts are another test's
				}
				got += p.Message
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEachObjectIsWrittenAsItsOwner: applies and deletions carry the account of
// whose object it is; the source's own are the source's.
func TestEachObjectIsWrittenAsItsOwner(t *testing.T) {
	t.Parallel()
	b := newBench()
	all := objects(t,
		"{apiVersion: v1, kind: ServiceAccount, metadata: {name: deployer, namespace: a}}",
		"{apiVersion: v1, kind: ServiceAccount, metadata: {name: deployer, namespace: b}}",
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: a}}",
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: b}}")
	all[2].File, all[3].File = "teams/a/x.yaml", "teams/b/x.yaml"
	as := func(objects ...*render.Object) map[string]string {
		in := b.input(t, objects...)
		in.Spec.Tenants = twoTenants()
		p := plan.Make(in)
		if len(p.Problems) > 0 {
			t.Fatal(p.Problems)
		}
		got := map[string]string{}
		for _, s := range p.Stages {
			for _, c := range s.Changes {
				who := ""
				if c.As != nil {
					who = c.As.Name
				}
				got[string(c.Verb)+" "+c.Ref.String()] = who
				if c.Verb == txn.Apply {
					if _, err := b.store.Do(t.Context(), txn.Identity{Name: "admin"}, namespace(c.Ref.Namespace), c); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		b.inventory = p.Next
		return got
	}
	for _, step := range []struct {
		objects []*render.Object
		want    map[string]string
	}{
		{all, map[string]string{
			"apply serviceaccounts a/deployer": "", "apply serviceaccounts b/deployer": "",
			"apply configmaps a/x": "system:serviceaccount:a:deployer", "apply configmaps b/x": "system:serviceaccount:b:deployer",
		}},
		{all[:3], map[string]string{"delete configmaps b/x": "system:serviceaccount:b:deployer"}},
	} {
		if diff := cmp.Diff(step.want, as(step.objects...)); diff != "" {
			t.Errorf("who writes (-want +got):\n%s", diff)
		}
	}
}

func namespace(name string) txn.Change {
	o := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}
	return txn.Change{Verb: txn.Apply, Ref: txn.Ref{Resource: schema.GroupResource{Resource: "namespaces"}, Name: name}, Version: "v1", Object: &unstructured.Unstructured{Object: o}, FieldManager: "test", Force: true}
}
