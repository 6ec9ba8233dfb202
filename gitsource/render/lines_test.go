package render_test

import "testing"

func TestLines(t *testing.T) {
	t.Parallel()
	const web = `# a comment
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels:
    app.kubernetes.io/name: web
spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: side
        image: side:1
      - name: web
        image: web:1
        ports:
        - {containerPort: 80}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Secret
  metadata: {name: s}
  stringData:
    key: value
`
	set, problems := renderFiles(t, map[string]string{
		"plain/web.yaml": web,
		"base/web.yaml":  web,
		"base/kustomization.yaml": `resources: [web.yaml]
namePrefix: prod-
patches:
- patch: '[{"op": "replace", "path": "/spec/replicas", "value": 3}]'
  target: {kind: Deployment}
`,
	})
	if len(problems) > 0 || len(set.Objects) != 4 {
		t.Fatalf("problems %v, objects %d", problems, len(set.Objects))
	}
	for _, c := range []struct {
		object int // of base first, then of plain
		field  string
		want   int32
	}{
		{2, "", 2},
		{2, "spec.replicas", 9},
		{2, "metadata.labels[app.kubernetes.io/name]", 7},
		{2, "spec.template.spec.containers[1].image", 16},
		{2, "spec.template.spec.containers[1].ports[0].containerPort", 18},
		{2, `.spec.template.spec.containers[name="web"].image`, 16},
		{2, "spec.template.spec.containers[0].resources.limits", 13},
		{2, "spec.selector", 8},
		{2, "nothing", 2},
		{3, "metadata.name", 25},
		{3, "data[key]", 27},
		{0, "spec.template.spec.containers[0].image", 14},
		{0, "spec.replicas", 2}, // patched: the file says something else
	} {
		if got := set.Line(set.Objects[c.object], c.field); got != c.want {
			t.Errorf("%s of object %d is at line %d, want %d", c.field, c.object, got, c.want)
		}
	}
}

func TestIgnore(t *testing.T) {
	t.Parallel()
	files := map[string]string{"web.yaml": object, "test/x.yaml": "not an object", "a/b.test.yaml": "neither", "a/keep.test.yaml": object}
	set, problems := renderWith(t, files, func(c *config) { c.Ignore = []string{"/test/", "*.test.yaml", "!keep.test.yaml"} })
	if len(problems) > 0 || len(set.Objects) != 2 {
		t.Fatalf("problems %v, set %+v", problems, set)
	}
}
