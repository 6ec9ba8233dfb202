package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const vetGood = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:1
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80}]
---
apiVersion: v1
kind: Secret
metadata: {name: db}
stringData: {password: hunter2-plain}
`

const vetDefinition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, maximum: 3}
`

// runVerb runs a verb and gives its output and exit status.
func runVerb(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	err := root.ExecuteContext(t.Context())
	var code exitCode
	switch {
	case err == nil:
		return out.String(), exitOK
	case errors.As(err, &code):
		return out.String(), code.code
	}
	return out.String() + err.Error(), exitError
}

func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestVet(t *testing.T) {
	t.Parallel()
	widget := func(size string) string {
		return "apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: w}\nspec:\n  size: " + size + "\n"
	}
	for name, c := range map[string]struct {
		files map[string]string
		path  string
		args  []string
		code  int
		want  []string // beginnings of the lines
	}{
		"good": {map[string]string{"web.yaml": vetGood, "crd.yaml": vetDefinition, "widget.yaml": widget("3")}, "", nil, exitOK, []string{"5 objects, 0 problems"}},
		"all mistakes at once": {map[string]string{
			"web.yaml": strings.Replace(strings.Replace(vetGood, "labels: {app: web}", "labels: {app: wed}", 1), "port: 80", "port: 80000", 1),
			"crd.yaml": vetDefinition, "widget.yaml": widget("4"), "typo.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndatta: {}\n",
		}, "", nil, exitRejected, []string{
			`typo.yaml:4: configmaps default/x: `, `web.yaml:7: deployments.apps default/web: `, `web.yaml:18: services default/web: `, `web.yaml:18: services default/web: `, `widget.yaml:5: widgets.example.org default/w: `, "6 objects, 5 problems",
		}},
		"does not render": {map[string]string{"a.yaml": "a: [", "b.yaml": "kind: X\n"}, "", nil, exitRejected, []string{"a.yaml:", "b.yaml:1: X: has no apiVersion", "0 objects, 2 problems"}},
		"unknown kind":    {map[string]string{"widget.yaml": widget("1")}, "", nil, exitRejected, []string{"widget.yaml:1: Widget w: there is no kind Widget", "1 objects, 1 problems"}},
		"overlay in a repository": {map[string]string{".git/HEAD": "", "base/kustomization.yaml": "resources: [web.yaml]\n", "base/web.yaml": vetGood, "prod/kustomization.yaml": "namePrefix: prod-\nresources: [../base]\n"},
			"prod", nil, exitOK, []string{"3 objects, 0 problems"}},
		"chart": {map[string]string{"Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n", "values.yaml": "port: 1\n", "prod.yaml": "port: 0\n",
			"templates/s.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports: [{port: {{ .Values.port }}}]\n"},
			"", []string{"--values", "prod.yaml"}, exitRejected, []string{"templates/s.yaml:1: services default/s: ", "templates/s.yaml:1: services default/s: ", "1 objects, 2 problems"}},
		"encrypted": {map[string]string{"s.yaml": "sops: {mac: 'ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]'}\n" + vetGood}, "", nil, exitRejected, []string{"s.yaml:1: is encrypted with SOPS, and the source has no age key", "0 objects, 1 problems"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, code := runVerb(t, append([]string{"vet", filepath.Join(lay(t, c.files), c.path)}, c.args...)...)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if code != c.code || len(lines) != len(c.want) {
				t.Fatalf("exit status %d, want %d:\n%s", code, c.code, out)
			}
			for _, want := range c.want {
				found := false
				for _, line := range lines {
					found = found || strings.HasPrefix(line, want)
				}
				if !found {
					t.Errorf("no line begins with %q:\n%s", want, out)
				}
			}
		})
	}
}

func TestRenderMasksSecrets(t *testing.T) {
	t.Parallel()
	dir := lay(t, map[string]string{"web.yaml": vetGood})
	for _, format := range []string{"table", "yaml", "json", "wide"} {
		out, code := runVerb(t, "render", dir, "-o", format)
		if code != exitOK || strings.Contains(out, "hunter2") || strings.Contains(out, "aHVudGVy") || !strings.Contains(out, "password") {
			t.Errorf("-o %s: exit status %d:\n%s", format, code, out)
		}
	}
	out, _ := runVerb(t, "render", dir)
	if !strings.Contains(out, "---\n# web.yaml:1\napiVersion: apps/v1\n") {
		t.Errorf("no origin in:\n%s", out)
	}
	out, _ = runVerb(t, "vet", dir, "-o", "json")
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"objects": float64(3), "problems": []any{}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
