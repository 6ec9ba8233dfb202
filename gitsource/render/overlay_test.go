package render_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func configMapNamed(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {a: b}\n"
}

// TestChains: of every object it is known which kustomizations it came through,
// and which of their patches were for it.
func TestChains(t *testing.T) {
	t.Parallel()
	base := map[string]string{
		"base/kustomization.yaml": "resources: [all.yaml, deep]\nconfigMapGenerator:\n- {name: made, literals: [x=y], options: {disableNameSuffixHash: true}}\n",
		"base/all.yaml":           configMapNamed("web") + "---\n" + configMapNamed("db"), "base/deep/kustomization.yml": "resources: [x.yaml]\n", "base/deep/x.yaml": configMapNamed("deep"),
		"eu/kustomization.yaml": "resources: [../base]\nnamePrefix: eu-\npatches:\n- path: web.yaml\n- target: {kind: ConfigMap, name: d.*}\n  patch: |\n    - {op: add, path: /data/c, value: d}\n- {path: none.yaml, target: {kind: Secret}}\n",
		"eu/web.yaml":           configMapNamed("web"), "eu/none.yaml": "- {op: add, path: /x, value: y}\n",
		"us/kustomization.yaml":   "resources: [../base]\nnameSuffix: -us\npatchesStrategicMerge: [web.yaml]\n",
		"us/web.yaml":             configMapNamed("web"),
		"both/kustomization.yaml": "resources: [../eu, ../us]\nlabels: [{pairs: {a: b}}]\n",
	}
	set, problems := renderWith(t, base, func(c *config) { c.Paths = []string{"both"} })
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	got := map[string]string{}
	for _, o := range set.Objects {
		got[o.Body.GetName()] = o.Origin() + " → " + o.Through()
	}
	want := map[string]string{
		"eu-web":  "base/all.yaml:1 → base/kustomization.yaml → eu/kustomization.yaml → eu/web.yaml → both/kustomization.yaml",
		"eu-db":   "base/all.yaml:6 → base/kustomization.yaml → eu/kustomization.yaml → eu/kustomization.yaml:7 → both/kustomization.yaml",
		"eu-deep": "base/deep/x.yaml:1 → base/deep/kustomization.yml → base/kustomization.yaml → eu/kustomization.yaml → eu/kustomization.yaml:7 → both/kustomization.yaml",
		"eu-made": "base/kustomization.yaml:1 → eu/kustomization.yaml → both/kustomization.yaml",
		"web-us":  "base/all.yaml:1 → base/kustomization.yaml → us/kustomization.yaml → us/web.yaml → both/kustomization.yaml",
		"db-us":   "base/all.yaml:6 → base/kustomization.yaml → us/kustomization.yaml → both/kustomization.yaml",
		"deep-us": "base/deep/x.yaml:1 → base/deep/kustomization.yml → base/kustomization.yaml → us/kustomization.yaml → both/kustomization.yaml",
		"made-us": "base/kustomization.yaml:1 → us/kustomization.yaml → both/kustomization.yaml",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSealedKustomization: without keys, the objects that have nothing of an
// encrypted file are known, where that can be told.
func TestSealedKustomization(t *testing.T) {
	t.Parallel()
	secret := fixture(t, "secret.yaml")
	patch := strings.NewReplacer("kind: Secret", "kind: ConfigMap", "name: db", "name: web", "stringData:", "data:").Replace(secret)
	for name, c := range map[string]struct {
		kustomization string
		files         map[string]string
		objects       string // in the set
		withheld      string
		unsure        bool
	}{
		"a resource":       {"resources: [web.yaml, secret.yaml]\nnamePrefix: x-\n", nil, "x-web", "Secret x-db", false},
		"a patch":          {"resources: [web.yaml, db.yaml]\npatches: [{path: patch.yaml}]\n", nil, "db", "ConfigMap web", false},
		"of a directory":   {"resources: [web.yaml, more]\nnamespace: shop\n", map[string]string{"more/kustomization.yaml": "resources: [s.yaml]\n", "more/s.yaml": secret}, "web", "Secret shop/db", false},
		"a generator":      {"resources: [web.yaml]\nsecretGenerator: [{name: s, files: [secret.yaml]}]\n", nil, "", "", true},
		"both":             {"resources: [web.yaml, secret.yaml]\nsecretGenerator: [{name: s, files: [k=secret.yaml]}]\n", nil, "", "", true},
		"with replacement": {"resources: [web.yaml, secret.yaml]\nreplacements: [{source: {kind: Secret, fieldPath: stringData.note}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.a]}]}]\n", nil, "", "", true},
		"all encrypted":    {"resources: [web.yaml, secret.yaml]\n", map[string]string{"secret.yaml": strings.ReplaceAll(secret, "kind: Secret", "kind: ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]")}, "", "", true},
		"a dotenv file":    {"resources: [web.yaml]\nsecretGenerator: [{name: s, envs: [app.env]}]\n", map[string]string{"app.env": fixture(t, "app.env")}, "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"kustomization.yaml": c.kustomization, "web.yaml": configMapNamed("web"), "db.yaml": configMapNamed("db"), "secret.yaml": secret, "patch.yaml": patch}
			for file, content := range c.files {
				files[file] = content
			}
			set, problems := renderWith(t, files, func(c *config) { c.Sealed = true })
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			var objects, withheld []string
			for _, o := range set.Objects {
				objects = append(objects, o.Body.GetName())
			}
			for _, w := range set.Withheld {
				withheld = append(withheld, strings.TrimPrefix(w.Kind+" "+w.Namespace+"/"+w.Name, "/"))
			}
			got := strings.ReplaceAll(strings.Join(withheld, " "), " /", " ")
			if strings.Join(objects, " ") != c.objects || got != c.withheld || set.Unsure != c.unsure || len(set.Sealed) == 0 {
				t.Errorf("objects %v, withheld %v, unsure %t, sealed %v", objects, withheld, set.Unsure, set.Sealed)
			}
		})
	}
}
