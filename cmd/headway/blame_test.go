package main

import (
	"encoding/json"
	"regexp"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver"
)

const shopWeb = `# The shop.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2 # enough
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: web:1
        env:
        - name: COLOUR
          value: "blue"
`

const shopSecret = `apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {password: hunter2-plain}
`

// reporting leaves what people change, so that it can be looked at.
var reporting = v1alpha1.GitSourceSpec{Drift: v1alpha1.DriftSpec{Policy: v1alpha1.DriftReport}}

// scale changes the Deployment web as a person does.
func (f *followed) scale(replicas string) {
	f.t.Helper()
	f.patch(`{"spec":{"replicas":`+replicas+`}}`, "kubectl-edit")
}

// patch changes the Deployment web as a field manager.
func (f *followed) patch(patch, manager string) {
	f.t.Helper()
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	ok(f.t, f.client.Patch(f.t.Context(), web, client.RawPatch("application/merge-patch+json", []byte(patch)), client.FieldOwner(manager)))
}

// TestBlame joins the author of each line with who writes in the cluster.
func TestBlame(t *testing.T) {
	t.Parallel()
	f := follow(t, map[string]string{"apps/web.yaml": shopWeb, "secret.yaml": shopSecret}, reporting)
	f.git.write("apps/web.yaml", regexp.MustCompile("web:1").ReplaceAllString(shopWeb, "web:2"))
	f.git.run("add", "-A")
	f.git.run("-c", "user.name=Joe", "commit", "-q", "-m", "newer", "--author", "Joe <joe@example.org>")
	f.arrive()
	first, second := f.git.run("rev-parse", "HEAD~1")[:12], f.git.run("rev-parse", "HEAD")[:12]

	out, _ := f.say(exitOK, "blame", "deploy/web")
	for _, line := range []string{
		`(?m)^spec\.replicas +2 +apps/web\.yaml:7 +` + first + ` +Jane +\S+ +headway:main \(`,
		`(?m)^spec\.template\.spec\.containers\[name="web"\]\.image +"web:2" +apps/web\.yaml:16 +` + second + ` +Joe +\S+ +headway:main \(`,
	} {
		if !regexp.MustCompile(line).MatchString(out) {
			t.Errorf("no line like %s in\n%s", line, out)
		}
	}
	f.scale("5")
	out, _ = f.say(exitDiffers, "blame", "deploy/web", "-C", f.git.dir)
	if !regexp.MustCompile(`(?m)^spec\.replicas +5 \(git: 2\) +apps/web\.yaml:7 +` + first + ` +Jane +\S+ +kubectl-edit \(`).MatchString(out) {
		t.Errorf("the change is not told:\n%s", out)
	}
	f.patch(`{"spec":{"paused":true}}`, "kubectl-patch")
	f.patch(`{"metadata":{"annotations":{"note":"x"}}}`, "kube-controller-manager")
	out, _ = f.say(exitDiffers, "blame", "deploy/web")
	if !regexp.MustCompile(`(?m)^spec\.paused +true +not in git +- +- +- +kubectl-patch \(`).MatchString(out) || regexp.MustCompile(`metadata\.annotations`).MatchString(out) {
		t.Errorf("what only the cluster says is not told, or too much is:\n%s", out)
	}
	// Who it was is told, each field by its last writer.
	as := func(user, patch string) {
		t.Helper()
		sources, err := f.client.Watch(t.Context(), &v1alpha1.GitSourceList{})
		ok(t, err)
		defer sources.Stop()
		web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
		c := f.api.Peer(txn.Identity{Name: user, Groups: apiserver.Masters.Groups}).Client()
		ok(t, c.Patch(t.Context(), web, client.RawPatch("application/merge-patch+json", []byte(patch)), client.FieldOwner("kubectl-edit")))
		until(t, sources, func(e watch.Event) bool {
			w := e.Object.(*v1alpha1.GitSource).Status.LiveWriters
			return len(w) > 0 && w[len(w)-1].User == user
		})
	}
	as("jane", `{"spec":{"paused":false,"minReadySeconds":3}}`)
	as("john", `{"spec":{"paused":true,"replicas":6}}`)
	out, _ = f.say(exitDiffers, "blame", "deploy/web")
	for _, line := range []string{
		`(?m)^spec\.paused +true +not in git .*john with kubectl-edit \(`, `(?m)^spec\.minReadySeconds +3 +not in git .*jane with kubectl-edit \(`,
		`(?m)^spec\.replicas +6 \(git: 2\) .*john with kubectl-edit \(`,
	} {
		if !regexp.MustCompile(line).MatchString(out) {
			t.Errorf("no line like %s in\n%s", line, out)
		}
	}
	out, _ = f.say(exitDiffers, "blame", "deploy/web", "--all")
	contains(t, out, "metadata.annotations.note")
	out, _ = f.say(exitDiffers, "blame", "deploy/web", "-o", "json")
	var b blamed
	ok(t, json.Unmarshal([]byte(out), &b))
	if b.Object != "deployments.apps default/web" || b.Origin != "apps/web.yaml:2" || len(b.Fields) < 6 {
		t.Errorf("%+v", b)
	}
	out, _ = f.say(exitOK, "blame", "secret/key", "-o", "yaml")
	if regexp.MustCompile("hunter2|aHVudGVy").MatchString(out) {
		t.Errorf("a Secret is shown:\n%s", out)
	}
	_, why := f.say(exitError, "blame", "deploy/none")
	contains(t, why, "there is no deployments.apps default/none")
	_, why = f.say(exitError, "blame", "ns/kube-system")
	contains(t, why, "no source has this object in git")
}
