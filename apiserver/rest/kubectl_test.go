package rest_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kubectl runs the machine's own kubectl against a world.
type kubectl struct {
	t    *testing.T
	path string
	home string
	url  string
}

func newKubectl(t *testing.T, w *world) *kubectl {
	t.Helper()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("no kubectl on this machine")
	}
	// kubectl does not send our test header, so it speaks through a server
	// that adds it.
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		r.Header.Set("Test-User", "kate")
		w.handler.ServeHTTP(out, r)
	}))
	t.Cleanup(server.Close)
	return &kubectl{t: t, path: path, home: t.TempDir(), url: server.URL}
}

// run gives standard output and error and fails the test on neither.
func (k *kubectl) run(stdin string, args ...string) (string, string, error) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, k.path, append([]string{"--server", k.url, "--cache-dir", filepath.Join(k.home, "cache")}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+k.home, "KUBECONFIG="+filepath.Join(k.home, "none"))
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	return out.String(), errs.String(), err
}

// ok is run for what must succeed.
func (k *kubectl) ok(stdin string, args ...string) string {
	k.t.Helper()
	out, errs, err := k.run(stdin, args...)
	if err != nil {
		k.t.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return out
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "web:1"%s}
`

func TestKubectl(t *testing.T) {
	w := newWorld(t)
	w.namespace("default")
	k := newKubectl(t, w)

	contains(t, k.ok(fmt.Sprintf(deployment, 2, ""), "apply", "-f", "-"), "deployment.apps/web created")
	contains(t, k.ok("", "get", "deployment"), "NAME", "READY", "UP-TO-DATE", "web")
	contains(t, k.ok(fmt.Sprintf(deployment, 3, ""), "apply", "-f", "-"), "deployment.apps/web configured")
	contains(t, k.ok(fmt.Sprintf(deployment, 3, ""), "apply", "-f", "-"), "deployment.apps/web unchanged")
	contains(t, k.ok(fmt.Sprintf(deployment, 4, ""), "apply", "--server-side", "--force-conflicts", "-f", "-"), "serverside-applied")
	contains(t, k.ok("", "get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"), "4")
	contains(t, k.ok("", "patch", "deploy", "web", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:2"}]}}}}`), "patched")
	contains(t, k.ok("", "get", "deploy", "web", "-o", "yaml"), "image: web:2", "kind: Deployment")
	contains(t, k.ok("", "label", "deploy", "web", "tier=front"), "labeled")
	contains(t, k.ok("", "get", "all", "-l", "tier=front", "-o", "name"), "deployment.apps/web")
	contains(t, k.ok("", "describe", "deploy", "web"), "Name:", "web", "Replicas:")
	contains(t, k.ok("", "api-resources"), "deployments", "apps/v1", "selfsubjectaccessreviews")
	contains(t, k.ok("", "api-versions"), "apps/v1")
	contains(t, k.ok("", "version"), "v1.37.0+headway")
	contains(t, k.ok("", "auth", "can-i", "create", "pods"), "yes")
	contains(t, k.ok("", "auth", "whoami"), "kate")
	contains(t, k.ok("", "delete", "deploy", "web"), `deployment.apps "web" deleted`)
	if _, errs, err := k.run("", "get", "deploy", "web"); err == nil || !strings.Contains(errs, `Error from server (NotFound): deployments.apps "web" not found`) {
		t.Errorf("get of what is gone: %v %s", err, errs)
	}
	contains(t, k.ok("", "get", "pods", "-A"), "")
}

func TestKubectlScales(t *testing.T) {
	w := newWorld(t)
	w.namespace("default")
	k := newKubectl(t, w)
	k.ok(fmt.Sprintf(deployment, 2, ""), "apply", "-f", "-")
	contains(t, k.ok("", "scale", "deploy", "web", "--replicas=5"), "scaled")
	contains(t, k.ok("", "get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"), "5")
	contains(t, k.ok("", "get", "--subresource=scale", "deploy", "web"), "web", "5")
}

func TestKubectlFindsMistypedFields(t *testing.T) {
	w := newWorld(t)
	w.namespace("default")
	k := newKubectl(t, w)
	mistyped := fmt.Sprintf(deployment, 2, ", comand: [x]")
	_, errs, err := k.run(mistyped, "apply", "-f", "-")
	if err == nil {
		t.Error("the mistyped field was accepted")
	}
	contains(t, errs, "Error from server (BadRequest)", `Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.template.spec.containers[0].comand"`)
	out, errs, err := k.run(mistyped, "apply", "--validate=warn", "-f", "-")
	if err != nil {
		t.Fatalf("warn: %v %s", err, errs)
	}
	contains(t, out, "created")
	contains(t, errs, `Warning: unknown field "spec.template.spec.containers[0].comand"`)
}

func TestKubectlExplain(t *testing.T) {
	w := newWorld(t)
	k := newKubectl(t, w)
	out := k.ok("", "explain", "deployment.spec.strategy.rollingUpdate", "--recursive")
	contains(t, out, "GROUP:      apps", "KIND:       Deployment", "VERSION:    v1", "FIELD: rollingUpdate <RollingUpdateDeployment>",
		"Rolling update config params", "maxSurge	<IntOrString>", "maxUnavailable	<IntOrString>")
	contains(t, k.ok("", "explain", "pod.spec.containers"), "A single application container")
	contains(t, k.ok("", "explain", "--output=plaintext-openapiv2", "configmap"), "ConfigMap holds configuration data")
}
