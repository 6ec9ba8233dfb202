package runtime_test

import (
	"strings"
	"testing"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

func TestNormalizeReference(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"nginx":                       "docker.io/library/nginx:latest",
		"nginx:1.27":                  "docker.io/library/nginx:1.27",
		"team/app":                    "docker.io/team/app:latest",
		"localhost:5000/app":          "localhost:5000/app:latest",
		"ghcr.io/a/b/c:v1":            "ghcr.io/a/b/c:v1",
		"nginx:1.27" + digest:         "docker.io/library/nginx" + digest,
		"docker.io/nginx":             "docker.io/library/nginx:latest",
		"":                            "",
		"Upper":                       "",
		"a/../b":                      "",
		"name:" + "t" + "\x00":        "",
		"registry.example/x:y@sha256": "",
	} {
		got, err := runtime.NormalizeReference(in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestUserID(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{"": 0, "0": 0, "1000": 1000, "1000:app": 1000, "app": -1, "-1": -1, "app:1000": -1} {
		got := int64(-1)
		if id := runtime.UserID(in); id != nil {
			got = *id
		}
		if got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}
