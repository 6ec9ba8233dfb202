package registry_test

import (
	"testing"

	"github.com/headway-sh/headway/nodeagent/registry"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for path, want := range map[string][2]string{
		"team/app/manifests/v1":      {"team/app", "/manifests/"},
		"team/app/blobs/sha256:0":    {"team/app", "/blobs/"},
		"a/blobs/b/manifests/v1":     {"a/blobs/b", "/manifests/"},
		"a/manifests/b/blobs/sha256": {"a/manifests/b", "/blobs/"},
		"team/app/tags/list":         {},
		"/manifests/v1":              {},
	} {
		name, kind, ok := registry.Split(path)
		if [2]string{name, kind} != want && ok || ok != (want[0] != "") {
			t.Errorf("%s: %q, %q, %t", path, name, kind, ok)
		}
	}
}
