package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const overlay = `resources: [web.yaml]
namePrefix: my-
`

// TestAdopt turns what was changed in the cluster into a commit that, once
// merged, is what the cluster has.
func TestAdopt(t *testing.T) {
	t.Parallel()
	f := follow(t, map[string]string{
		"apps/web.yaml": shopWeb, "secret.yaml": shopSecret,
		"made/kustomization.yaml": overlay, "made/web.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made}\ndata: {a: b}\n",
	}, reporting)
	f.git.run("config", "user.name", "Ann")
	f.git.run("config", "user.email", "ann@example.org")
	clone := t.TempDir()
	f.git.run("clone", "-q", f.git.dir, clone)
	f.git.run("-C", clone, "config", "user.name", "Ann")
	f.git.run("-C", clone, "config", "user.email", "ann@example.org")

	f.say(exitDiffers, "adopt", "deploy/web", "-C", clone)
	f.scale("5")
	out, _ := f.say(exitOK, "adopt", "deploy/web", "-C", clone, "--push")
	contains(t, out, "spec.replicas: 2 → 5")
	if diff := cmp.Diff(strings.Replace(shopWeb, "replicas: 2 #", "replicas: 5 #", 1), f.git.run("show", "headway-adopt/deployment-web:apps/web.yaml")+"\n"); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}
	if got := f.git.run("show", "--name-only", "--format=%ae", "headway-adopt/deployment-web"); got != "ann@example.org\n\napps/web.yaml" {
		t.Errorf("the commit is %q", got)
	}
	_, why := f.say(exitError, "adopt", "deploy/web", "-C", clone)
	contains(t, why, "there is a branch headway-adopt/deployment-web already")
	f.git.run("merge", "-q", "headway-adopt/deployment-web")
	f.arrive()
	f.say(exitOK, "blame", "deploy/web")

	// What git says nothing of.
	web := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "own"}, Data: map[string]string{"a": "b\nc\n"}}
	ok(t, f.client.Create(t.Context(), web, client.FieldOwner("kubectl-create")))
	out, _ = f.say(exitOK, "adopt", "cm/own", "--new", "apps/own.yaml", "-C", f.git.dir, "--branch", "own", "-m", "mine", "-o", "name")
	if out != "own\n" {
		t.Errorf("-o name gave %q", out)
	}
	const own = "apiVersion: v1\ndata:\n  a: |\n    b\n    c\nkind: ConfigMap\nmetadata:\n  name: own\n  namespace: default"
	if diff := cmp.Diff(own, f.git.run("show", "own:apps/own.yaml")); diff != "" {
		t.Errorf("the new file (-want +got):\n%s", diff)
	}

	// What is not written for the cluster.
	_, why = f.say(exitRejected, "adopt", "secret/key")
	contains(t, why, "is a Secret", "secret.yaml:1")
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "my-made"}}
	ok(t, f.client.Patch(t.Context(), made, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"a":"c"}}`)), client.FieldOwner("kubectl-edit")))
	_, why = f.say(exitRejected, "adopt", "cm/my-made")
	contains(t, why, "made/web.yaml:1", "made/kustomization.yaml", "change it there")
	_, why = f.say(exitError, "adopt", "ns/kube-system")
	contains(t, why, "--new")
}
