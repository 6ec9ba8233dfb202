package main

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

const onTheHost = `apiVersion: v1
kind: ConfigMap
metadata: {name: web, namespace: shop}
data: {key: preview}
---
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  hostNetwork: true
  containers: [{name: x, image: "x:1"}]
`

const elevated = `apiVersion: v1
kind: ConfigMap
metadata: {name: web, namespace: shop}
data: {key: preview}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: more}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: more}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, namespace: shop, name: default}]
`

// TestEnvironmentsStayWithinTheirNamespace: with the API server's own
// authorization, admission and controllers, a branch runs in a namespace of its
// own with an account that can do nothing elsewhere, and leaves nothing behind.
func TestEnvironmentsStayWithinTheirNamespace(t *testing.T) {
	t.Parallel()
	c, ctx := rooms(t, "namespace", "serviceaccount", "garbagecollector"), t.Context()
	git := cloneOf(t, map[string]string{"web.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: shop}\ndata: {key: main}\n",
		"shop.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"})
	sources, err := c.Watch(ctx, &v1alpha1.GitSourceList{})
	ok(t, err)
	defer sources.Stop()
	ok(t, c.Create(ctx, &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: v1alpha1.GitSourceSpec{
		URL: git.dir, Ref: v1alpha1.GitReference{Branch: "main"}, Reports: v1alpha1.ReportsSpec{Disabled: true}, TargetNamespace: "shop",
		Previews: v1alpha1.PreviewsSpec{Environments: &v1alpha1.EnvironmentsSpec{
			Refs: []string{"refs/heads/try-*"}, TTL: &metav1.Duration{Duration: time.Hour}, Quota: map[string]resource.Quantity{"configmaps": resource.MustParse("5")},
		}},
	}}))
	// environment waits for a phase of the only one and gives it.
	environment := func(phase v1alpha1.EnvironmentPhase) v1alpha1.EnvironmentStatus {
		t.Helper()
		var out v1alpha1.EnvironmentStatus
		until(t, sources, func(e watch.Event) bool {
			o := e.Object.(*v1alpha1.GitSource)
			i := slices.IndexFunc(o.Status.Environments, func(e v1alpha1.EnvironmentStatus) bool {
				return e.Phase == phase && (e.Commit == git.run("rev-parse", "HEAD") || phase == v1alpha1.EnvironmentEnding)
			})
			if o.Name == "main" && i >= 0 {
				out = o.Status.Environments[i]
			}
			return out.Phase == phase
		})
		return out
	}
	until(t, sources, func(e watch.Event) bool { return e.Object.(*v1alpha1.GitSource).Status.AppliedCommit != "" })

	git.run("checkout", "-q", "-b", "try-it")
	git.write("web.yaml", elevated)
	git.commit("more")
	e := environment(v1alpha1.EnvironmentFailed)
	contains(t, e.Message, `roles.rbac.authorization.k8s.io `+e.Namespace+`/more`, "system:serviceaccount:"+e.Namespace+":headway-environment", "cannot patch")
	if err := c.Get(ctx, client.ObjectKey{Name: "more"}, &rbacv1.ClusterRoleBinding{}); !apierrors.IsNotFound(err) {
		t.Errorf("the cluster role is bound: %v", err)
	}

	git.write("web.yaml", onTheHost)
	git.commit("a pod on the host")
	contains(t, environment(v1alpha1.EnvironmentFailed).Message, `violates PodSecurity "baseline:latest"`)

	git.write("web.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: shop}\ndata: {key: preview}\n")
	git.commit("modest")
	e = environment(v1alpha1.EnvironmentHealthy)
	value := func(namespace string) string {
		var web corev1.ConfigMap
		ok(t, c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "web"}, &web))
		return web.Data["key"]
	}
	if value("shop") != "main" || value(e.Namespace) != "preview" {
		t.Errorf("shop has %q, the environment %q", value("shop"), value(e.Namespace))
	}
	var quota corev1.ResourceQuota
	ok(t, c.Get(ctx, client.ObjectKey{Namespace: e.Namespace, Name: v1alpha1.EnvironmentAccount}, &quota))
	if left := quota.Spec.Hard["configmaps"]; left.Value() != 5 {
		t.Errorf("the quota is %v", quota.Spec.Hard)
	}

	spaces, err := c.Watch(ctx, &corev1.NamespaceList{})
	ok(t, err)
	defer spaces.Stop()
	git.run("checkout", "-q", "main")
	git.run("branch", "-q", "-D", "try-it")
	until(t, spaces, func(w watch.Event) bool {
		return w.Type == watch.Deleted && w.Object.(*corev1.Namespace).Name == e.Namespace
	})
	var left v1alpha1.GitSourceList
	ok(t, c.List(ctx, &left))
	var releases v1alpha1.ReleaseList
	ok(t, c.List(ctx, &releases))
	if len(left.Items) != 1 || slices.ContainsFunc(releases.Items, func(r v1alpha1.Release) bool { return r.Spec.Source != "main" }) {
		t.Errorf("%d sources and %d releases are left", len(left.Items), len(releases.Items))
	}
}
