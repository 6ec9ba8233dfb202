package render_test

import (
	"encoding/base64"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/render/sops"
)

// fixture is a file that SOPS itself has encrypted.
func fixture(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile("testdata/sops/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func withKey(t *testing.T) func(*config) {
	t.Helper()
	ids, err := sops.Identities(fixture(t, "age.key"))
	if err != nil {
		t.Fatal(err)
	}
	return func(c *config) { c.Decrypt = func(string) ([]age.Identity, error) { return ids, nil } }
}

func secretData(t *testing.T, o *render.Object) map[string]string {
	t.Helper()
	out := map[string]string{}
	data, _ := o.Body.Object["data"].(map[string]any)
	for key, value := range data {
		text, err := base64.StdEncoding.DecodeString(value.(string))
		if err != nil {
			t.Fatal(err)
		}
		out[key] = string(text)
	}
	return out
}

// TestKeysOfOwners: whose a file is decides which keys open it, and what is
// built of it is his.
func TestKeysOfOwners(t *testing.T) {
	t.Parallel()
	good, err := sops.Identities(fixture(t, "age.key"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string][]age.Identity{"": good, "a": good, "b": {other}}
	secret, kustomized := fixture(t, "secret.yaml"), strings.ReplaceAll(fixture(t, "secret.yaml"), "\r", "")
	chart := func(at string) map[string]string {
		return map[string]string{at + "/Chart.yaml": "apiVersion: v2\nname: chart\nversion: 1.0.0\n", at + "/values.yaml": fixture(t, "values.yaml"),
			at + "/templates/all.yaml": object + "data: {all: {{ omit .Values \"global\" | toJson | quote }}}\n"}
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string // empty: it is well
		whose string
	}{
		"his own":              {map[string]string{"a/secret.yaml": secret}, "", ""},
		"his own, kustomized":  {map[string]string{"a/kustomization.yaml": "resources: [secret.yaml]\n", "a/secret.yaml": kustomized}, "", "a"},
		"his own chart":        {chart("a"), "", "a"},
		"another's keys":       {map[string]string{"b/secret.yaml": secret}, "b/secret.yaml:9: is encrypted with SOPS, and cannot be decrypted: none of the age keys opens it", ""},
		"another's chart":      {chart("b"), "none of the age keys opens it", ""},
		"none":                 {map[string]string{"c/secret.yaml": secret}, `c/secret.yaml:9: is encrypted, and belongs to the tenant "c", who has no age key`, ""},
		"the platform's, read": {map[string]string{"a/kustomization.yaml": "resources: [../p]\n", "p/kustomization.yaml": "resources: [secret.yaml]\n", "p/secret.yaml": kustomized}, "reads encrypted files that are not of the tenant a", ""},
		"read by the platform": {map[string]string{"p/kustomization.yaml": "resources: [../a]\n", "a/kustomization.yaml": "resources: [secret.yaml]\n", "a/secret.yaml": kustomized}, "", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, problems := renderWith(t, c.files, func(cfg *config) {
				cfg.Owner = func(file string) string {
					if dir, _, _ := strings.Cut(file, "/"); dir != "p" {
						return dir
					}
					return ""
				}
				cfg.Decrypt = func(owner string) ([]age.Identity, error) { return keys[owner], nil }
			})
			if c.want == "" && len(problems) > 0 {
				t.Fatal(problems)
			}
			if c.want != "" && (len(problems) == 0 || !strings.Contains(problems[0].String(), c.want)) {
				t.Fatalf("%v, want %q", problems, c.want)
			}
			if c.whose != "" && !slices.Equal(set.Objects[0].Owners, []string{c.whose}) {
				t.Errorf("owners: %q", set.Objects[0].Owners)
			}
		})
	}
}

func TestEncryptedFiles(t *testing.T) {
	t.Parallel()
	set, problems := renderWith(t, map[string]string{
		"a/secret.yaml":        fixture(t, "secret.yaml"),
		"b/two.yaml":           fixture(t, "two.yaml"),
		"c/kustomization.yaml": "secretGenerator:\n- name: all\n  envs: [app.env]\n  files: [config.json, key.bin]\ngeneratorOptions: {disableNameSuffixHash: true}\nresources: [secret.yaml]\n",
		"c/app.env":            fixture(t, "app.env"), "c/config.json": fixture(t, "config.json"), "c/key.bin": fixture(t, "key.bin"),
		"c/secret.yaml":        strings.ReplaceAll(fixture(t, "secret.yaml"), "\r", ""),
		"d/Chart.yaml":         "apiVersion: v2\nname: chart\nversion: 1.0.0\n",
		"d/values.enc.yaml":    fixture(t, "values.yaml"),
		"d/templates/all.yaml": object + "data: {all: {{ omit .Values \"global\" | toJson | quote }}}\n",
		"d/.helmignore":        "values.enc.yaml\n",
		"e/not-encrypted.yaml": object + "data: {text: 'sops and ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]'}\n",
	}, func(c *config) {
		withKey(t)(c)
		c.Charts.ValuesFiles = []string{"values.enc.yaml"}
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := []map[string]string{
		{"password": "hunter2-plain", "note": "two\nlines-plain\n"},
		{"password": "hunter2-plain", "note": "two\nlines-plain\n"},
		{"password": "other-plain"},
		{"password": "hunter2-plain", "note": "two\nlines-plain\n"},
		{"USER": "root", "PASSWORD": "hunter2-plain", "key.bin": "hunter2-plain\x01\n",
			"config.json": "{\n  \"list\": [\n    \"a-plain\"\n  ],\n  \"password\": \"hunter2-plain\",\n  \"port\": 5432,\n  \"tls\": true,\n  \"user\": \"root\"\n}"},
	}
	for i, w := range want {
		if diff := cmp.Diff(w, secretData(t, set.Objects[i])); diff != "" {
			t.Errorf("object %d (-want +got):\n%s", i, diff)
		}
	}
	if diff := cmp.Diff(`{"debug":true,"empty":"","host_unencrypted":"web","list":["one-plain",2,{"name":"three-plain"}],"none":null,"password":"hunter2-plain","port_unencrypted":8080,"ratio":1.5,"replicas":3}`,
		body(set.Objects[5], "all")); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if o := set.Objects[2]; o.Origin() != "b/two.yaml:"+lineWith(fixture(t, "two.yaml"), "apiVersion", 2) || set.Line(o, "data[password]") <= o.Line {
		t.Errorf("the second of two is at %s, its password at line %d", o.Origin(), set.Line(o, "data[password]"))
	}
	if got := set.Redact("bad value \"hunter2-plain\" or " + base64.StdEncoding.EncodeToString([]byte("hunter2-plain"))); strings.Contains(got, "hunter2") || strings.Contains(got, "aHVudGVy") {
		t.Errorf("a message says %q", got)
	}
}

// lineWith is the line of the nth occurrence of a text.
func lineWith(text, what string, nth int) string {
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, what) {
			if nth--; nth == 0 {
				return strconv.Itoa(i + 1)
			}
		}
	}
	return ""
}

func TestEncryptedFilesRefused(t *testing.T) {
	t.Parallel()
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	good := fixture(t, "secret.yaml")
	none := func(*config) {}
	for name, c := range map[string]struct {
		content string
		key     func(*config)
		want    string
	}{
		"no key": {good, none, ": is encrypted with SOPS, and the source has no age key"},
		"wrong key": {good, func(c *config) {
			c.Decrypt = func(string) ([]age.Identity, error) { return []age.Identity{other}, nil }
		}, "none of the age keys opens it: it is encrypted for age1"},
		"plain changed":  {strings.Replace(good, "name: db", "name: evil", 1), withKey(t), "its values do not match its authentication code"},
		"key added":      {strings.Replace(good, "kind: Secret", "kind: Secret\ntype: Opaque", 1), withKey(t), "its values do not match its authentication code"},
		"value changed":  {strings.Replace(good, "password: ENC[AES256_GCM,data:", "password: ENC[AES256_GCM,data:AAAA", 1), withKey(t), "x.yaml:7: stringData.password cannot be decrypted"},
		"value moved":    {strings.Replace(good, "  password: ENC", "  passwort: ENC", 1), withKey(t), "x.yaml:7: stringData.passwort cannot be decrypted"},
		"value in plain": {replaceLine(good, "  password:", "  password: mine"), withKey(t), "x.yaml:7: stringData.password should be encrypted and is not"},
		"code changed":   {strings.Replace(good, "lastmodified: \"2026", "lastmodified: \"2027", 1), withKey(t), "authentication code (sops.mac) cannot be read"},
		"no code":        {replaceLine(good, "  mac:", "  mac: \"\""), withKey(t), "it has no authentication code"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := renderWith(t, map[string]string{"x.yaml": c.content}, c.key)
			if len(problems) != 1 || !strings.Contains(problems[0].String(), c.want) {
				t.Fatalf("problems %v, want one with %q", problems, c.want)
			}
			if strings.Contains(problems[0].String(), "hunter2") {
				t.Errorf("the problem tells the secret: %s", problems[0])
			}
		})
	}
}

func replaceLine(text, prefix, with string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, prefix) {
			lines[i] = with
		}
	}
	return strings.Join(lines, "\n")
}
