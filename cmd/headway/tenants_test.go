package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// shared has a platform's files and a tenant's: the rights of the tenant are in
// the same commit as what is written with them.
var shared = map[string]string{
	"platform/shop.yaml": `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer, namespace: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: deployer, namespace: shop}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [get, create, patch, delete]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: deployer}
subjects: [{kind: ServiceAccount, namespace: shop, name: deployer}]
---
apiVersion: v1
kind: Secret
metadata: {name: treasure, namespace: shop}
stringData: {gold: "1"}
`,
	"teams/shop/web.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {key: "1"}
`,
}

const greedy = `apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: more}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}
subjects: [{kind: ServiceAccount, namespace: shop, name: deployer}]
---
apiVersion: v1
kind: Secret
metadata: {name: mine}
`

const curious = `apiVersion: v1
kind: ConfigMap
metadata: {name: seen}
data:
  web: {{ (lookup "v1" "ConfigMap" "shop" "web").data.key | quote }}
  gold: {{ (lookup "v1" "Secret" "shop" "treasure").data.gold | quote }}
`

// TestTenantsHaveTheirRightsOnly: with the API server's own authorization, what
// a tenant's files ask for is written, escalates and is looked up with the
// rights of the tenant's account.
func TestTenantsHaveTheirRightsOnly(t *testing.T) {
	t.Parallel()
	c, ctx := rooms(t), t.Context()
	git := cloneOf(t, shared)
	sources, err := c.Watch(ctx, &v1alpha1.GitSourceList{})
	ok(t, err)
	defer sources.Stop()
	ok(t, c.Create(ctx, &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: v1alpha1.GitSourceSpec{
		URL: git.dir, Ref: v1alpha1.GitReference{Branch: "main"}, Reports: v1alpha1.ReportsSpec{Disabled: true},
		Tenants: []v1alpha1.Tenant{{Name: "shop", Paths: []string{"teams/shop/**"}, Namespaces: []string{"shop"}, ServiceAccountName: "deployer"}},
	}}))
	// problems waits until the newest commit is refused, and says why.
	problems := func() string {
		var out []string
		head := git.run("rev-parse", "HEAD")
		until(t, sources, func(e watch.Event) bool {
			out = nil
			st := e.Object.(*v1alpha1.GitSource).Status
			for _, p := range st.Problems {
				out = append(out, p.String())
			}
			return st.ObservedCommit == head && len(out) > 0
		})
		return strings.Join(out, "\n")
	}
	until(t, sources, func(e watch.Event) bool { return e.Object.(*v1alpha1.GitSource).Status.AppliedCommit != "" })
	var web corev1.ConfigMap
	ok(t, c.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "web"}, &web))

	git.write("teams/shop/more.yaml", greedy)
	git.commit("more")
	got := problems()
	for _, want := range []string{
		`teams/shop/more.yaml:1: rolebindings.rbac.authorization.k8s.io shop/more: rolebindings.rbac.authorization.k8s.io "more" is forbidden: user "system:serviceaccount:shop:deployer"`,
		`attempting to grant RBAC permissions not currently held`,
		`teams/shop/more.yaml:7: secrets shop/mine: secrets "mine" is forbidden: User "system:serviceaccount:shop:deployer" cannot patch resource "secrets" in API group "" in the namespace "shop"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the problems are\n%s\nwithout\n%s", got, want)
		}
	}

	git.remove("teams/shop/more.yaml")
	git.write("teams/shop/chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n")
	git.write("teams/shop/chart/templates/seen.yaml", curious)
	git.commit("curious")
	if got := problems(); !strings.Contains(got, `teams/shop/chart/templates/seen.yaml`) || !strings.Contains(got, `User "system:serviceaccount:shop:deployer" cannot get resource "secrets"`) {
		t.Errorf("the problems are\n%s", got)
	}
	git.write("teams/shop/chart/templates/seen.yaml", curious[:strings.Index(curious, "  gold")])
	git.commit("modest")
	head := git.run("rev-parse", "HEAD")
	until(t, sources, func(e watch.Event) bool { return e.Object.(*v1alpha1.GitSource).Status.AppliedCommit == head })
	ok(t, c.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "seen"}, &web))
	if web.Data["web"] != "1" {
		t.Errorf("looked up %v", web.Data)
	}
}

// clone is a repository with a working tree that an engine follows.
type clone struct {
	t   *testing.T
	dir string
}

func cloneOf(t *testing.T, files map[string]string) clone {
	t.Helper()
	g := clone{t, t.TempDir()}
	g.run("init", "-q", "-b", "main")
	for name, content := range files {
		g.write(name, content)
	}
	g.commit("begin")
	return g
}

func (g clone) run(args ...string) string {
	g.t.Helper()
	cmd := exec.CommandContext(g.t.Context(), "git", append([]string{"-c", "user.name=Jane", "-c", "user.email=jane@example.org"}, args...)...)
	cmd.Dir = g.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + g.dir, "GIT_CONFIG_NOSYSTEM=1"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		g.t.Fatalf("git %v: %v %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (g clone) write(name, content string) {
	g.t.Helper()
	ok(g.t, os.MkdirAll(filepath.Join(g.dir, filepath.Dir(name)), 0o755))
	ok(g.t, os.WriteFile(filepath.Join(g.dir, name), []byte(content), 0o644))
}

func (g clone) remove(name string) {
	g.t.Helper()
	ok(g.t, os.Remove(filepath.Join(g.dir, name)))
}

func (g clone) commit(message string) {
	g.t.Helper()
	g.run("add", "-A")
	g.run("commit", "-qm", message)
}
