package registry_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headway-sh/headway/nodeagent/registry"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

func read(t *testing.T, text string) (*registry.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "registries.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return registry.ReadFile(path)
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	f, err := read(t, `
mirrors:
  docker.io:
    endpoint: ["https://mirror.example:5000", "http://cache.example/proxy"]
    rewrite: {"^library/(.*)": "hub/$1"}
  "*":
    endpoint: [fallback.example]
configs:
  mirror.example:5000:
    auth: {username: jane, password: secret}
    tls: {insecure_skip_verify: true}
  quay.io:
    auth: {auth: amFjazpndWVzcw==}
`)
	if err != nil {
		t.Fatal(err)
	}
	hub, err := f.Endpoints("docker.io")
	if err != nil || len(hub) != 3 {
		t.Fatal(hub, err)
	}
	if e := hub[0]; e.URL.Host != "mirror.example:5000" || e.Credentials.Username != "jane" || !e.TLS.InsecureSkipVerify || e.Rewrite("library/nginx") != "hub/nginx" || e.Rewrite("team/app") != "team/app" {
		t.Errorf("the first mirror: %+v", e)
	}
	if e := hub[1]; e.URL.String() != "http://cache.example/proxy" || e.Credentials != nil {
		t.Errorf("the second mirror: %+v", e)
	}
	if e := hub[2]; e.URL != nil || e.TLS != nil {
		t.Errorf("the registry itself: %+v", e)
	}
	quay, err := f.Endpoints("quay.io")
	if err != nil || len(quay) != 2 || quay[0].URL.String() != "https://fallback.example" || *quay[1].Credentials != (runtime.Credentials{Username: "jack", Password: "guess"}) {
		t.Errorf("%+v, %v", quay, err)
	}
	none, err := registry.ReadFile(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	if all, err := none.Endpoints("docker.io"); err != nil || len(all) != 1 {
		t.Errorf("without a file: %v, %v", all, err)
	}
}

func TestFilesRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, want string }{
		"no YAML":          {"mirrors: [", "registries.yaml"},
		"unknown field":    {"mirrors: {a: {endpoints: [x]}}", "endpoints"},
		"no address":       {"mirrors: {a: {endpoint: ['ftp://x']}}", "http(s)://"},
		"no expression":    {"mirrors: {a: {endpoint: [x], rewrite: {'(': x}}}", "rewrite"},
		"no authority":     {"mirrors: {a: {endpoint: [x]}}\nconfigs: {x: {tls: {ca_file: /none}}}", "authority of x"},
		"no basic encoded": {"mirrors: {a: {endpoint: [x]}}\nconfigs: {x: {auth: {auth: '!'}}}", "auth of x"},
	} {
		if _, err := read(t, tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
