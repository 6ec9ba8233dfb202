package render_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/render"
)

// shop is a chart with a subchart, a definition, a hook, a test and notes.
func shop() map[string]string {
	return map[string]string{
		"shop/Chart.yaml": `apiVersion: v2
name: shop
version: 1.0.0
dependencies:
- name: cache
  version: 1.x
  alias: memory
  condition: memory.enabled
- name: unwanted
  version: 1.0.0
  condition: unwanted.enabled
`,
		"shop/values.yaml": "greeting: hello\nmemory: {enabled: true}\nunwanted: {enabled: false}\n",
		"shop/templates/_helpers.tpl": `{{- define "shop.name" -}}
{{ .Release.Name }}-{{ .Chart.Name }}
{{- end }}
`,
		"shop/templates/web.yaml": `{{- range $i := until 2 }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "shop.name" $ }}-{{ $i }}
  namespace: {{ $.Release.Namespace }}
data:
  greeting: {{ $.Values.greeting | quote }}
  at: {{ now | date "2006" | quote }}
{{- end }}
`,
		"shop/templates/NOTES.txt": `{{ fail "notes are not rendered" }}`,
		"shop/templates/job.yaml": `apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {helm.sh/hook: pre-upgrade}
---
apiVersion: v1
kind: Pod
metadata:
  name: probe
  annotations:
    helm.sh/hook: test
`,
		"shop/crds/widget.yaml":                        "# written as it is: {{ }}\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.example.org}\nspec: {}\n",
		"shop/charts/cache/Chart.yaml":                 "apiVersion: v2\nname: cache\nversion: 1.2.0\n",
		"shop/charts/cache/values.yaml":                "size: 1\n",
		"shop/charts/cache/templates/cache.yaml":       "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-{{ .Chart.Name }}}\ndata: {size: {{ .Values.size | quote }}, region: {{ .Values.global.region | quote }}}\n",
		"shop/charts/unwanted/Chart.yaml":              "apiVersion: v2\nname: unwanted\nversion: 1.0.0\n",
		"shop/charts/unwanted/templates/unwanted.yaml": object,
		"prod.yaml":      "greeting: file\nmemory: {size: 2}\nglobal: {region: north}\n",
		"shop/more.yaml": "greeting: more\n",
	}
}

func body(o *render.Object, field string) string {
	data, _ := o.Body.Object["data"].(map[string]any)
	text, _ := data[field].(string)
	return text
}

func TestChart(t *testing.T) {
	t.Parallel()
	set, problems := renderWith(t, shop(), func(c *config) {
		c.Paths = []string{"shop"}
		c.Charts = render.Charts{Namespace: "prod", ValuesFiles: []string{"/prod.yaml", "more.yaml"}, Values: map[string]any{"memory": map[string]any{"size": "3"}}}
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := []struct {
		name, origin string
		hook         bool
	}{
		{"widgets.example.org", "shop/crds/widget.yaml:2", false},
		{"shop-memory", "shop/charts/memory/templates/cache.yaml:1", false},
		{"migrate", "shop/templates/job.yaml:1", true},
		{"shop-shop-0", "shop/templates/web.yaml:3", false},
		{"shop-shop-1", "shop/templates/web.yaml:3", false},
	}
	if len(set.Objects) != len(want) {
		t.Fatalf("%d objects, want %d", len(set.Objects), len(want))
	}
	for i, o := range set.Objects {
		if o.Body.GetName() != want[i].name || o.Origin() != want[i].origin || o.Hook != want[i].hook {
			t.Errorf("object %d is %s at %s (hook %v), want %+v", i, o.Body.GetName(), o.Origin(), o.Hook, want[i])
		}
	}
	if o := set.Objects[1]; body(o, "size") != "3" || body(o, "region") != "north" {
		t.Errorf("the subchart has %v", o.Body.Object["data"])
	}
	if o := set.Objects[3]; body(o, "greeting") != "more" || len(body(o, "at")) != 4 || o.Body.GetNamespace() != "prod" || strings.Join(o.Chain, " ") != "shop/Chart.yaml prod.yaml shop/more.yaml" {
		t.Errorf("the chart has %v through %v", o.Body.Object, o.Chain)
	}
	if got := set.Line(set.Objects[0], "spec.group"); got != 5 {
		t.Errorf("a field of the definition is at line %d", got)
	}
}

// packed makes the archive of a chart as helm package does.
func packed(t *testing.T, root string, files map[string]string) string {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for name, content := range files {
		if !strings.HasPrefix(name, root+"/") {
			continue
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestChartArchiveAndMirror(t *testing.T) {
	t.Parallel()
	all := shop()
	cache := map[string]string{}
	for name, content := range all {
		if rest, ok := strings.CutPrefix(name, "shop/charts/cache/"); ok {
			cache["cache/"+rest] = content
		}
	}
	lean := maps.Clone(all)
	maps.DeleteFunc(lean, func(name, _ string) bool { return strings.HasPrefix(name, "shop/charts/") })
	lean["mirror/cache-1.2.0.tgz"] = packed(t, "cache", cache)
	lean["mirror/cache-2.0.0.tgz"] = "not what is asked for, and never looked into after the right one"
	lean["mirror/unwanted/Chart.yaml"] = all["shop/charts/unwanted/Chart.yaml"]

	t.Run("archive", func(t *testing.T) {
		t.Parallel()
		set, problems := renderWith(t, map[string]string{"vendor/shop-1.0.0.tgz": packed(t, "shop", all)}, func(c *config) { c.Paths = []string{"vendor/shop-1.0.0.tgz"} })
		if len(problems) > 0 || len(set.Objects) != 5 {
			t.Fatalf("problems %v, set %v", problems, set)
		}
		if got := set.Objects[3].Origin(); got != "vendor/shop-1.0.0.tgz/templates/web.yaml:3" {
			t.Errorf("the origin is %s", got)
		}
	})
	t.Run("mirror", func(t *testing.T) {
		t.Parallel()
		set, problems := renderWith(t, lean, func(c *config) { c.Paths, c.Charts.Mirror = []string{"shop"}, "mirror" })
		if len(problems) > 0 || len(set.Objects) != 5 {
			t.Fatalf("problems %v, set %v", problems, set)
		}
	})
	t.Run("no mirror", func(t *testing.T) {
		t.Parallel()
		_, problems := renderWith(t, lean, func(c *config) { c.Paths = []string{"shop"} })
		if len(problems) != 1 || !strings.HasPrefix(problems[0].String(), "shop/Chart.yaml:5: helm: the dependency cache 1.x is neither in charts/") {
			t.Fatal(problems)
		}
	})
}

func TestChartProblems(t *testing.T) {
	t.Parallel()
	const head = "# first\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
	for name, c := range map[string]struct{ template, want string }{
		"syntax":            {head + "data: {{ .Values.a \n", "c/templates/x.yaml:5: helm: "},
		"missing helper":    {head + `data: {{ include "nothing" . }}`, "c/templates/x.yaml:5: helm: "},
		"fail":              {head + `data: {{ fail "set a password" }}`, "c/templates/x.yaml:5: helm: set a password"},
		"inside a helper":   {head + `data: {{ include "broken" . }}`, `c/templates/_h.tpl:2: helm: `},
		"fail in a helper":  {head + `data: {{ include "failing" . }}`, `c/templates/x.yaml:5: helm: no luck`},
		"bad yaml":          {head + "data: {a: b\n", "c/templates/x.yaml:"},
		"no name":           {"kind: ConfigMap\napiVersion: {{ print \"v1\" }}\n", "c/templates/x.yaml:1: ConfigMap: as rendered: has no metadata.name"},
		"key":               {head + "data: {a: {{ genPrivateKey \"rsa\" | quote }}}", "genPrivateKey is off: it gives another result at each render"},
		"host names":        {head + `data: {a: {{ getHostByName "example.org" }}}`, "getHostByName is off"},
		"environment":       {head + `data: {a: {{ env "HOME" }}}`, `function "env" not defined`},
		"endless loop":      {head + "{{ range $i := until 100000 }}{{ range $j := until 100000 }}{{ end }}{{ end }}", "c/templates/x.yaml:5: helm: "},
		"endless recursion": {head + `{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}`, "c/templates/x.yaml:5: helm: "},
		"long list":         {head + "data: {a: {{ until 100000000 }}}", "a list of 100000000 numbers is too long"},
		"long text":         {head + `data: {a: {{ repeat 100000000 "x" }}}`, "are too many"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := renderFiles(t, map[string]string{"c/Chart.yaml": "apiVersion: v2\nname: chart\nversion: 1.0.0\n", "c/templates/x.yaml": c.template,
				"c/templates/_h.tpl": "{{ define \"broken\" }}\n{{ .Values.a.b.c }}\n{{ end }}\n{{ define \"failing\" }}{{ fail \"no luck\" }}{{ end }}\n"})
			if len(problems) != 1 || !strings.Contains(problems[0].String(), c.want) {
				t.Fatalf("problems %v, want one with %q", problems, c.want)
			}
		})
	}
}

func TestChartRandom(t *testing.T) {
	t.Parallel()
	get := func(key string) map[string]string {
		set, problems := renderWith(t, map[string]string{"c/Chart.yaml": "apiVersion: v2\nname: chart\nversion: 1.0.0\n", "c/values.yaml": "password: real\n",
			"c/templates/x.yaml": object + "data: {a: {{ default (randAlphaNum 12) .Values.password }}, b: {{ randAlphaNum 12 }}, c: {{ randAlphaNum 12 }}, d: {{ uuidv4 }}}\n"},
			func(c *config) { c.Key = []byte(key) })
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		out := map[string]string{}
		for _, field := range []string{"a", "b", "c", "d"} {
			out[field] = body(set.Objects[0], field)
		}
		return out
	}
	one, again, other := get("one"), get("one"), get("other")
	if diff := cmp.Diff(one, again); diff != "" {
		t.Errorf("another render gives something else (-first +second):\n%s", diff)
	}
	if one["a"] != "real" || len(one["b"]) != 12 || one["b"] == one["c"] || one["b"] == other["b"] || len(one["d"]) != 36 {
		t.Errorf("got %v, and with another key %v", one, other)
	}
}

func TestChartSeesTheCluster(t *testing.T) {
	t.Parallel()
	set, problems := renderWith(t, map[string]string{"Chart.yaml": "apiVersion: v2\nname: chart\nversion: 1.0.0\nkubeVersion: '>=1.37.0-0'\n", "templates/x.yaml": object + `data:
  version: {{ .Capabilities.KubeVersion.Version }}
  known: {{ .Capabilities.APIVersions.Has "example.org/v1/Widget" | quote }}
  found: {{ (lookup "v1" "ConfigMap" "default" "y").data.key }}
  none: {{ empty (lookup "v1" "ConfigMap" "default" "z") | quote }}
`}, func(c *config) {
		c.Mode = v1alpha1.RenderHelm
		c.Charts.Cluster = func() (*render.Cluster, error) {
			return &render.Cluster{KubeVersion: "v1.37.2", APIVersions: []string{"v1", "example.org/v1/Widget"}, Lookup: func(_, _, _, name string) (map[string]any, error) {
				if name != "y" {
					return map[string]any{}, nil
				}
				return map[string]any{"data": map[string]any{"key": "live"}}, nil
			}}, nil
		}
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	o := set.Objects[0]
	for field, want := range map[string]string{"version": "v1.37.2", "known": "true", "found": "live", "none": "true"} {
		if body(o, field) != want {
			t.Errorf("%s is %q, want %q", field, body(o, field), want)
		}
	}
}

func TestHostileCharts(t *testing.T) {
	t.Parallel()
	zeros := strings.Repeat("\x00", 40<<20)
	for name, c := range map[string]struct {
		files map[string]string
		path  string
		want  string
	}{
		"archive that unpacks to much": {map[string]string{"c.tgz": packed(t, "c", map[string]string{"c/Chart.yaml": zeros})}, "c.tgz", "has more than"},
		"archive in an archive": {map[string]string{"c.tgz": packed(t, "c", map[string]string{"c/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n",
			"c/charts/d.tgz": packed(t, "d", map[string]string{"d/x": zeros})})}, "c.tgz", "has more than"},
		"no archive":        {map[string]string{"c.tgz": "x"}, "c.tgz", "c.tgz: helm: is not a .tgz archive"},
		"leads outside":     {map[string]string{"c.tgz": packed(t, "c", map[string]string{"c/../../x": "y"})}, "c.tgz", "is not a chart archive"},
		"no chart":          {map[string]string{"c/Chart.yaml": "name: [\n"}, "c", "c/Chart.yaml:1: helm: cannot load Chart.yaml"},
		"values are a list": {map[string]string{"c/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n", "c/values.yaml": "- a\n"}, "c", "c/values.yaml:1: helm: cannot load values.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := renderWith(t, c.files, func(cfg *config) { cfg.Paths = []string{c.path} })
			if len(problems) != 1 || !strings.Contains(problems[0].String(), c.want) {
				t.Fatalf("problems %v, want one with %q", problems, c.want)
			}
		})
	}
}

// The example is a chart that a person can start from.
func TestExampleChart(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	root := os.DirFS("../../examples/chart")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, name)
		files["chart/"+name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	set, problems := renderWith(t, files, func(c *config) {
		c.Charts.Cluster = func() (*render.Cluster, error) { return &render.Cluster{KubeVersion: "v1.37.0"}, nil }
	})
	if len(problems) > 0 || len(set.Objects) == 0 {
		t.Fatalf("problems %v, set %v", problems, set)
	}
}
